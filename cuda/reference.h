#pragma once

#include <cstdint>
#include <vector>

namespace kente::cuda::reference {

// What the kernels of this folder compute, in double, one obvious loop after the other: the truth
// they are tested against. Matrices are row after row.
using Values = std::vector<double>;

struct Norm {
  Values y, mean, rstd;
};
Norm rms_norm(const Values& x, const Values& w, int64_t width, double eps);
Norm layer_norm(const Values& x, const Values& w, const Values& b, int64_t width, double eps);

struct NormGrads {
  Values dx, w, b;
};
/// residual_grad may be empty.
NormGrads rms_norm_backward(const Values& x, const Values& w, const Values& dy,
                            const Values& residual_grad, int64_t width, double eps);
NormGrads layer_norm_backward(const Values& x, const Values& w, const Values& dy,
                              const Values& residual_grad, int64_t width, double eps);

/// The sum of each column.
Values column_sums(const Values& x, int64_t columns);

/// Of rows [gate, up], width elements each.
Values swiglu(const Values& gate_up, int64_t width);
Values swiglu_backward(const Values& gate_up, const Values& dy, int64_t width);

/// x already has its bias.
Values gelu(const Values& x);
Values gelu_backward(const Values& x, const Values& dy);

/// One row of heads; cos and sin of head_dim / 2 angles. sign -1 turns back.
Values rope(const Values& row, const Values& cos, const Values& sin, double sign);

struct Loss {
  Values nats, gradient;
};
/// Rows of vocabulary logits; mask may be empty.
Loss cross_entropy(const Values& logits, const std::vector<int32_t>& targets,
                   const std::vector<int32_t>& mask, int64_t vocabulary, double grad_scale);

struct AdamWRates {
  double factor, beta1, beta2, eps, step_size, root_scale, decay;
};
struct AdamWState {
  Values p, m, v;
};
AdamWState adamw(const AdamWState& before, const Values& gradient, const AdamWRates& rates);

}  // namespace kente::cuda::reference
