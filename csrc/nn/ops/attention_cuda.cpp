#include <ATen/ops/_efficient_attention_backward.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <tuple>

#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/gpu_ops.h"

// Two of ATen's kernels, each for all segments at once. Flash attention (Dao 2023,
// arXiv:2307.08691) wants 16 bits and a generation of at least 80, and knows that key heads serve
// several query heads. The memory-efficient one (Rabe and Staats 2021, arXiv:2112.05682) takes the
// rest: there each query head gets a copy of its key head.

namespace kente {
namespace {

constexpr int kFlashGeneration = 80;
constexpr int64_t kCausal = 1;  // at::sdp::CustomMaskType::CausalFromTopLeft

/// Heads [first, first + heads) of every row of x, [rows, heads, head_dim].
at::Tensor heads_of(const at::Tensor& x, int64_t first, int64_t heads, int64_t head_dim) {
  return x.as_strided({x.size(0), heads, head_dim}, {x.stride(0), head_dim, 1},
                      x.storage_offset() + first * head_dim);
}

struct Views {
  at::Tensor q, k, v;
};

Views views_of(const at::Tensor& qkv, const AttentionHeads& h) {
  return {heads_of(qkv, 0, h.heads, h.head_dim), heads_of(qkv, h.heads, h.kv_heads, h.head_dim),
          heads_of(qkv, h.heads + h.kv_heads, h.kv_heads, h.head_dim)};
}

/// x [rows, K, head_dim] with each head as often as query heads read it, [1, rows, H, head_dim].
at::Tensor repeated(Ops& ops, const at::Tensor& x, const AttentionHeads& h) {
  const int64_t rows = x.size(0), group = h.heads / h.kv_heads;
  if (group == 1) return x.unsqueeze(0);
  at::Tensor all = ops.empty({rows, h.kv_heads, group, h.head_dim}, x.scalar_type());
  all.copy_(x.as_strided({rows, h.kv_heads, group, h.head_dim}, {x.stride(0), h.head_dim, 0, 1},
                         x.storage_offset()));
  return all.view({1, rows, h.heads, h.head_dim});
}

/// The gradient of repeated(): [1, rows, H, head_dim] to [rows, K, head_dim].
at::Tensor summed(const at::Tensor& grad, const AttentionHeads& h) {
  const int64_t rows = grad.size(1);
  if (h.heads == h.kv_heads) return grad.squeeze(0);
  return at::sum(grad.view({rows, h.kv_heads, h.heads / h.kv_heads, h.head_dim}), {2});
}

void put_gradients(const Views& at, const at::Tensor& dq, const at::Tensor& dk,
                   const at::Tensor& dv) {
  at.q.copy_(dq);
  at.k.copy_(dk);
  at.v.copy_(dv);
}

GpuBatch::Segments make_segments(const MicroBatch& batch, bool stop_at_documents,
                                 std::vector<int32_t>& borders) {
  GpuBatch::Segments segments;
  for (const AttentionSegment& segment : attention_segments(batch, stop_at_documents)) {
    borders.push_back(static_cast<int32_t>(segment.first_row));
    segments.longest = std::max(segments.longest, segment.rows);
  }
  borders.push_back(static_cast<int32_t>(batch.samples * batch.length));
  return segments;
}

}  // namespace

bool GpuOps::flash(at::ScalarType type) const {
  return is_half(type) && compute_capability_ >= kFlashGeneration;
}

const GpuBatch::Segments& GpuOps::segments_of(const BatchOnDevice& batch, bool stop_at_documents) {
  const GpuBatch& own = GpuBatch::of(batch);
  if (own.segments) return *own.segments;
  std::vector<int32_t> borders;
  own.segments = make_segments(batch.host(), stop_at_documents, borders);
  own.segments->borders = numbers(borders);
  return *own.segments;
}

AttentionOutput GpuOps::attention(const at::Tensor& qkv, const AttentionHeads& heads,
                                  const BatchOnDevice& batch, bool stop_at_documents) {
  const GpuBatch::Segments& segments = segments_of(batch, stop_at_documents);
  const auto [q, k, v] = views_of(qkv, heads);
  const int64_t width = heads.heads * heads.head_dim;
  if (flash(qkv.scalar_type())) {
    auto [out, logsumexp, seed, unused, mask] = at::_flash_attention_forward(
        q, k, v, segments.borders, segments.borders, segments.longest, segments.longest,
        /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false);
    return {out.view({qkv.size(0), width}), logsumexp, {seed, unused}};
  }
  auto [out, logsumexp, seed, offset, longest_q, longest_k] = at::_efficient_attention_forward(
      q.unsqueeze(0), repeated(*this, k, heads), repeated(*this, v, heads), /*bias=*/{},
      segments.borders, segments.borders, segments.longest, segments.longest, /*dropout_p=*/0.0,
      kCausal, /*compute_log_sumexp=*/true);
  return {out.view({qkv.size(0), width}), logsumexp, {seed, offset}};
}

void GpuOps::attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                                const BatchOnDevice& batch, bool stop_at_documents,
                                const AttentionOutput& forward, const at::Tensor& grad_out) {
  const GpuBatch::Segments& segments = segments_of(batch, stop_at_documents);
  const Views at = views_of(qkv, heads);
  const at::Tensor out = heads_of(forward.out, 0, heads.heads, heads.head_dim);
  const at::Tensor dout = heads_of(grad_out, 0, heads.heads, heads.head_dim);
  if (flash(qkv.scalar_type())) {
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        dout, at.q, at.k, at.v, out, forward.logsumexp, segments.borders, segments.borders,
        segments.longest, segments.longest, /*dropout_p=*/0.0, /*is_causal=*/true, forward.state[0],
        forward.state[1]);
    return put_gradients(at, dq, dk, dv);
  }
  const auto [dq, dk, dv, dbias] = at::_efficient_attention_backward(
      dout.unsqueeze(0), at.q.unsqueeze(0), repeated(*this, at.k, heads),
      repeated(*this, at.v, heads), /*bias=*/{}, out.unsqueeze(0), segments.borders,
      segments.borders, segments.longest, segments.longest, forward.logsumexp, /*dropout_p=*/0.0,
      forward.state[0], forward.state[1], kCausal, /*bias_requires_grad=*/false);
  put_gradients(at, dq.squeeze(0), summed(dk, heads), summed(dv, heads));
}

}  // namespace kente
