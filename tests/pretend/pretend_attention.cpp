#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>

#include "csrc/base/errors.h"
#include "tests/pretend/pretend_tensors.h"

// ATen's two attention kernels on pretended GPUs, as their formulas are written, in double.

namespace kente::pretend {
namespace {

using MaybeTensor = std::optional<at::Tensor>;

/// [tokens, heads, head_dim], whatever stands before.
at::Tensor tokens_first(const at::Tensor& x) { return x.dim() == 4 ? x.squeeze(0) : x; }

/// What both directions read; key heads serve H / K query heads each.
struct Inputs {
  TensorAt q, k, v, borders;
  int64_t longest;

  Inputs(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
         const at::Tensor& cum_seq_q, const at::Tensor& cum_seq_k, int64_t longest)
      : q(tokens_first(query)),
        k(tokens_first(key)),
        v(tokens_first(value)),
        borders(cum_seq_q),
        longest(longest) {
    KENTE_CHECK(cum_seq_q.data_ptr() == cum_seq_k.data_ptr(), "segments of keys and queries");
    KENTE_CHECK(query.stride(-1) == 1 && key.stride(-1) == 1 && value.stride(-1) == 1,
                "heads whose numbers do not lie side by side");
  }

  /// Calls work(query row, first row of its segment, query head, key head).
  void for_rows(const std::function<void(int64_t, int64_t, int64_t, int64_t)>& work) const {
    const DeviceArray at = borders.open();
    const int64_t heads = q.sizes[1], group = heads / k.sizes[1];
    for (int64_t s = 0; s + 1 < at.size(0); ++s) {
      const auto begin = static_cast<int64_t>(at.get({s})),
                 end = static_cast<int64_t>(at.get({s + 1}));
      if (end - begin > longest) throw std::runtime_error("a segment beyond the longest");
      for (int64_t row = begin; row < end; ++row)
        for (int64_t head = 0; head < heads; ++head) work(row, begin, head, head / group);
    }
  }
};

double dot(const DeviceArray& a, int64_t row_a, int64_t head_a, const DeviceArray& b, int64_t row_b,
           int64_t head_b) {
  double sum = 0;
  for (int64_t i = 0; i < a.size(2); ++i)
    sum += a.get({row_a, head_a, i}) * b.get({row_b, head_b, i});
  return sum;
}

void forward_work(const Inputs& in, const TensorAt& out_at, const TensorAt& logsumexp_at) {
  const DeviceArray q = in.q.open(), k = in.k.open(), v = in.v.open(), out = out_at.open(),
                    logsumexp = logsumexp_at.open();
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(2)));
  in.for_rows([&](int64_t row, int64_t begin, int64_t head, int64_t key_head) {
    std::vector<double> weights;
    double total = 0;
    for (int64_t t = begin; t <= row; ++t) {
      weights.push_back(std::exp(scale * dot(q, row, head, k, t, key_head)));
      total += weights.back();
    }
    for (int64_t i = 0; i < q.size(2); ++i) {
      double sum = 0;
      for (int64_t t = begin; t <= row; ++t)
        sum += weights[static_cast<size_t>(t - begin)] * v.get({t, key_head, i});
      out.set({row, head, i}, sum / total);
    }
    logsumexp.set({head, row}, std::log(total));
  });
}

/// Gradients, summed in f32.
void backward_work(const Inputs& in, const TensorAt& dout_at, const TensorAt& out_at,
                   const TensorAt& logsumexp_at, const std::array<TensorAt, 3>& grads) {
  const DeviceArray q = in.q.open(), k = in.k.open(), v = in.v.open(), dout = dout_at.open(),
                    out = out_at.open(), logsumexp = logsumexp_at.open();
  const std::array<DeviceArray, 3> to = {grads[0].open(), grads[1].open(), grads[2].open()};
  const int64_t heads = q.size(1), key_heads = k.size(1), width = q.size(2), rows = q.size(0);
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  std::array<std::vector<double>, 3> sums;
  sums[0].resize(static_cast<size_t>(rows * heads * width));
  sums[1].resize(static_cast<size_t>(rows * key_heads * width));
  sums[2] = sums[1];
  const auto place = [&](int64_t row, int64_t head, int64_t of, int64_t i) {
    return static_cast<size_t>((row * of + head) * width + i);
  };
  in.for_rows([&](int64_t row, int64_t begin, int64_t head, int64_t key_head) {
    const double own = dot(dout, row, head, out, row, head);
    for (int64_t t = begin; t <= row; ++t) {
      const double weight =
          std::exp(scale * dot(q, row, head, k, t, key_head) - logsumexp.get({head, row}));
      const double slope = weight * (dot(dout, row, head, v, t, key_head) - own) * scale;
      for (int64_t i = 0; i < width; ++i) {
        sums[0][place(row, head, heads, i)] += slope * k.get({t, key_head, i});
        sums[1][place(t, key_head, key_heads, i)] += slope * q.get({row, head, i});
        sums[2][place(t, key_head, key_heads, i)] += weight * dout.get({row, head, i});
      }
    }
  });
  for (size_t which = 0; which < 3; ++which)
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t head = 0; head < to[which].size(1); ++head)
        for (int64_t i = 0; i < width; ++i)
          to[which].set({row, head, i}, sums[which][place(row, head, to[which].size(1), i)]);
}

at::Tensor like(const at::Tensor& x) { return at::empty(x.sizes(), x.options()); }

/// Output and log-sum-exp.
std::pair<at::Tensor, at::Tensor> attend(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const MaybeTensor& borders_q,
                                         const MaybeTensor& borders_k, int64_t longest) {
  at::Tensor out = like(q);
  at::Tensor logsumexp =
      at::empty({q.size(-2), tokens_first(q).size(0)}, q.options().dtype(at::kFloat));
  const Inputs in(q, k, v, borders_q.value(), borders_k.value(), longest);
  const TensorAt out_at(tokens_first(out)), logsumexp_at(logsumexp);
  queue_work(tensor_stream(), "attention", [=] { forward_work(in, out_at, logsumexp_at); });
  return {out, logsumexp};
}

std::array<at::Tensor, 3> gradients(const at::Tensor& dout, const at::Tensor& q,
                                    const at::Tensor& k, const at::Tensor& v, const at::Tensor& out,
                                    const at::Tensor& logsumexp, const at::Tensor& borders_q,
                                    const at::Tensor& borders_k, int64_t longest) {
  const std::array<at::Tensor, 3> grads = {like(q), like(k), like(v)};
  const Inputs in(q, k, v, borders_q, borders_k, longest);
  const TensorAt dout_at(tokens_first(dout)), out_at(tokens_first(out)), logsumexp_at(logsumexp);
  const std::array<TensorAt, 3> to = {TensorAt(tokens_first(grads[0])),
                                      TensorAt(tokens_first(grads[1])),
                                      TensorAt(tokens_first(grads[2]))};
  queue_work(tensor_stream(), "attention's gradient",
             [=] { backward_work(in, dout_at, out_at, logsumexp_at, to); });
  return grads;
}

at::Tensor state(const at::Tensor& q) { return at::empty({2}, q.options().dtype(at::kLong)); }

void check_flash(const at::Tensor& q) {
  const auto type = q.scalar_type();
  KENTE_CHECK(type == at::kHalf || type == at::kBFloat16, "flash attention is of 16 bits");
  KENTE_CHECK(PretendNode::current()->gpu(q.device().index()).kind().compute_capability >= 80,
              "flash attention is for generations from 80 on");
  KENTE_CHECK(q.dim() == 3, "flash attention of segments wants [tokens, heads, head_dim]");
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> flash_forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const MaybeTensor& borders_q,
    const MaybeTensor& borders_k, int64_t longest, int64_t, double dropout, bool causal, bool,
    std::optional<double>, std::optional<int64_t>, std::optional<int64_t>, const MaybeTensor&,
    const MaybeTensor&) {
  check_flash(q);
  KENTE_CHECK(causal && dropout == 0, "what kente asks for");
  auto [out, logsumexp] = attend(q, k, v, borders_q, borders_k, longest);
  return {out, logsumexp, state(q), state(q), at::Tensor()};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& logsumexp, const at::Tensor& borders_q,
    const at::Tensor& borders_k, int64_t longest, int64_t, double, bool causal,
    const at::Tensor& seed, const at::Tensor& unused, std::optional<double>, std::optional<int64_t>,
    std::optional<int64_t>) {
  check_flash(q);
  KENTE_CHECK(causal && seed.defined() && unused.defined(), "what the forward pass gave");
  const auto grads = gradients(dout, q, k, v, out, logsumexp, borders_q, borders_k, longest);
  return {grads[0], grads[1], grads[2]};
}

void check_efficient(const at::Tensor& q, const at::Tensor& k, int64_t mask) {
  KENTE_CHECK(mask == 1, "causal from the top left");
  KENTE_CHECK(
      q.dim() == 4 && q.size(0) == 1 && q.size(2) == k.size(2),
      "memory-efficient attention wants [1, tokens, heads, head_dim], and as many key heads");
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, c10::SymInt, c10::SymInt>
efficient_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const MaybeTensor& bias, const MaybeTensor& borders_q,
                  const MaybeTensor& borders_k, std::optional<int64_t> longest,
                  std::optional<int64_t>, double dropout, int64_t mask, bool logsumexp_wanted,
                  std::optional<double>, const MaybeTensor&, std::optional<int64_t>) {
  check_efficient(q, k, mask);
  KENTE_CHECK(!bias && dropout == 0 && logsumexp_wanted, "what kente asks for");
  auto [out, logsumexp] = attend(q, k, v, borders_q, borders_k, longest.value());
  return {out, logsumexp, state(q), state(q), *longest, *longest};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> efficient_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const MaybeTensor&, const at::Tensor& out, const MaybeTensor& borders_q,
    const MaybeTensor& borders_k, int64_t longest, int64_t, const at::Tensor& logsumexp, double,
    const at::Tensor& seed, const at::Tensor& offset, int64_t mask, bool, std::optional<double>,
    std::optional<int64_t>, std::optional<int64_t>, bool) {
  check_efficient(q, k, mask);
  KENTE_CHECK(seed.defined() && offset.defined(), "what the forward pass gave");
  const auto grads =
      gradients(dout, q, k, v, out, logsumexp, borders_q.value(), borders_k.value(), longest);
  return {grads[0], grads[1], grads[2], at::Tensor()};
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_flash_attention_forward", TORCH_FN(flash_forward));
  library.impl("_flash_attention_backward", TORCH_FN(flash_backward));
  library.impl("_efficient_attention_forward", TORCH_FN(efficient_forward));
  library.impl("_efficient_attention_backward", TORCH_FN(efficient_backward));
}

}  // namespace
}  // namespace kente::pretend
