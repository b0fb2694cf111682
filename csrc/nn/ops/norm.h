#pragma once

#include <ATen/core/Tensor.h>

namespace kente {

struct NormOutput {
  at::Tensor y;      // [rows, D] compute dtype
  at::Tensor stats;  // layer norm: [rows, 2] mean, rstd; RMS norm: [rows] rstd; f32 (f64)
};

/// Layer norm over the last axis: y = (x - mean) / sqrt(mean((x - mean)^2) + eps) * w + b.
/// x [rows, D] f32|f64|bf16, contiguous; w, b [D] f32 (f64). Sums in f32 (f64).
/// Source: Ba et al. 2016, arXiv:1607.06450, eq. 3-4.
NormOutput layer_norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, double eps);

/// dx = rstd (dy w - mean(dy w) - xhat mean(dy w xhat)) + residual_grad, in place: dy [rows, D]
/// becomes dx. Adds sum dy xhat to grad_w and sum dy to grad_b, both [D] f32 (f64), in row order.
/// residual_grad [rows, D] compute dtype, or undefined.
void layer_norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                         const at::Tensor& residual_grad, const at::Tensor& dy,
                         const at::Tensor& grad_w, const at::Tensor& grad_b);

/// RMS norm over the last axis: y = x / sqrt(mean(x^2) + eps) * w. As layer_norm.
/// Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
NormOutput rms_norm(const at::Tensor& x, const at::Tensor& w, double eps);

/// dx = rstd (dy w - xhat mean(dy w xhat)) + residual_grad, in place. As layer_norm_backward.
void rms_norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                       const at::Tensor& residual_grad, const at::Tensor& dy,
                       const at::Tensor& grad_w);

}  // namespace kente
