#include "csrc/nn/ops/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <tuple>

#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

/// Views of one segment as ATen wants them, [K, H / K, rows, head_dim]; keys and values repeat with
/// stride 0.
struct SegmentViews {
  at::Tensor q, k, v;
};

at::Tensor query_like(const at::Tensor& x, int64_t row_width, const AttentionHeads& h,
                      const AttentionSegment& segment) {
  const int64_t group = h.heads / h.kv_heads;
  return x.as_strided({h.kv_heads, group, segment.rows, h.head_dim},
                      {group * h.head_dim, h.head_dim, row_width, 1},
                      x.storage_offset() + segment.first_row * row_width);
}

SegmentViews segment_views(const at::Tensor& qkv, const AttentionHeads& h,
                           const AttentionSegment& segment) {
  const int64_t width = h.width();
  const int64_t group = h.heads / h.kv_heads;
  const int64_t start = qkv.storage_offset() + segment.first_row * width;
  const auto repeated = [&](int64_t first_head) {
    return qkv.as_strided({h.kv_heads, group, segment.rows, h.head_dim}, {h.head_dim, 0, width, 1},
                          start + first_head * h.head_dim);
  };
  return {query_like(qkv, width, h, segment), repeated(h.heads), repeated(h.heads + h.kv_heads)};
}

at::Tensor logsumexp_view(const at::Tensor& logsumexp, const AttentionHeads& h,
                          const AttentionSegment& segment) {
  const int64_t group = h.heads / h.kv_heads;
  return logsumexp.as_strided({h.kv_heads, group, segment.rows}, {group * segment.rows, 1, group},
                              segment.first_row * h.heads);
}

/// to[head, row] = sum over group of from[head, group, row], in order.
template <typename T>
KENTE_KERNEL void sum_group(const T* from, const int64_t* from_strides, T* to, int64_t to_stride,
                            const int64_t* sizes) {
  using Real = RealOf<T>;
  for (int64_t head = 0; head < sizes[0]; ++head) {
    for (int64_t row = 0; row < sizes[2]; ++row) {
      const T* first = from + head * from_strides[0] + row * from_strides[2];
      T* out = to + row * to_stride + head * sizes[3];
      for (int64_t i = 0; i < sizes[3]; i += kLanes<T>) {
        const int64_t n = std::min(kLanes<T>, sizes[3] - i);
        Vec<Real> sum = load(first + i, n);
        for (int64_t g = 1; g < sizes[1]; ++g) sum += load(first + g * from_strides[1] + i, n);
        store(out + i, sum, n);
      }
    }
  }
}

/// Writes grad [K, G, rows, head_dim], summed over G, to column first_head of the segment's rows of
/// qkv.
void put_key_gradient(const at::Tensor& grad, const at::Tensor& qkv, const AttentionHeads& h,
                      const AttentionSegment& segment, int64_t first_head) {
  KENTE_CHECK(grad.stride(3) == 1, "stride " + std::to_string(grad.stride(3)));
  with_type(grad.scalar_type(), [&]<typename T>(T) {
    T* to = qkv.mutable_data_ptr<T>() + segment.first_row * h.width() + first_head * h.head_dim;
    sum_group(grad.const_data_ptr<T>(), grad.strides().data(), to, h.width(), grad.sizes().data());
  });
}

}  // namespace

std::vector<AttentionSegment> attention_segments(const MicroBatch& batch, bool stop_at_documents) {
  std::vector<AttentionSegment> segments;
  const int32_t* documents = batch.plane(MicroBatch::kDocuments);
  for (int64_t sample = 0; sample < batch.samples; ++sample) {
    const int64_t first = sample * batch.length;
    segments.push_back({first, batch.length});
    if (!stop_at_documents) continue;
    for (int64_t row = first + 1; row < first + batch.length; ++row) {
      if (documents[row] == documents[row - 1]) continue;
      AttentionSegment& open = segments.back();
      const int64_t end = open.first_row + open.rows;
      open.rows = row - open.first_row;
      segments.push_back({row, end - row});
    }
  }
  return segments;
}

AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                          const std::vector<AttentionSegment>& segments) {
  const int64_t rows = qkv.size(0);
  const int64_t width = heads.heads * heads.head_dim;
  AttentionOutput result{
      at::empty({rows, width}, qkv.options()),
      at::empty({rows * heads.heads}, qkv.options().dtype(real_type(qkv.scalar_type()))),
      {}};
  for (const AttentionSegment& segment : segments) {
    const SegmentViews views = segment_views(qkv, heads, segment);
    const auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
        views.q, views.k, views.v, /*dropout_p=*/0.0, /*is_causal=*/true);
    query_like(result.out, width, heads, segment).copy_(out);
    logsumexp_view(result.logsumexp, heads, segment).copy_(logsumexp);
  }
  return result;
}

void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                        const std::vector<AttentionSegment>& segments,
                        const AttentionOutput& forward, const at::Tensor& grad_out) {
  const int64_t width = heads.heads * heads.head_dim;
  for (const AttentionSegment& segment : segments) {
    const SegmentViews views = segment_views(qkv, heads, segment);
    const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        query_like(grad_out, width, heads, segment), views.q, views.k, views.v,
        query_like(forward.out, width, heads, segment),
        logsumexp_view(forward.logsumexp, heads, segment), /*dropout_p=*/0.0, /*is_causal=*/true);
    views.q.copy_(dq);
    put_key_gradient(dk, qkv, heads, segment, heads.heads);
    put_key_gradient(dv, qkv, heads, segment, heads.heads + heads.kv_heads);
  }
}

}  // namespace kente
