#pragma once

#include <ATen/core/Tensor.h>

namespace kente {

/// y = x w^T + bias + residual; the sum is made in f32 and rounded once.
/// x [rows, in], w [out, in], residual [rows, out] or undefined: compute dtype, contiguous. bias
/// [out] f32 (f64) or undefined. Returns [rows, out] in the compute dtype. bf16: holds the f32
/// product [rows, out] meanwhile.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                  const at::Tensor& residual);

/// out = x w^T with the f32 result kept. out [rows, out] f32 (f64), contiguous.
void linear_real(const at::Tensor& x, const at::Tensor& w, const at::Tensor& out);

/// dx = dy w. dy [rows, out], w [out, in]: compute dtype, contiguous. Returns [rows, in].
at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w);

/// grad_w += dy^T x. dy [rows, out], x [rows, in]: compute dtype, contiguous; grad_w [out, in] f32
/// (f64).
void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& grad_w);

/// grad_bias += sum over rows of dy, in row order. dy [rows, out] compute dtype; grad_bias [out]
/// f32 (f64).
void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias);

}  // namespace kente
