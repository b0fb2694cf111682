#pragma once

#include <ATen/core/Tensor.h>

namespace kente {

/// y = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3): GELU's tanh form, Hugging Face's
/// "gelu_new". x, y any shape, compute dtype, contiguous; computed in f32 (f64). Source: Hendrycks
/// & Gimpel 2016, arXiv:1606.08415, section 2.
at::Tensor gelu(const at::Tensor& x);

/// x becomes dx = dy gelu'(x).
void gelu_backward(const at::Tensor& x, const at::Tensor& dy);

/// y = silu(gate) up, silu(g) = g / (1 + e^-g). gate_up [rows, 2F]: gate, then up; y [rows, F];
/// compute dtype, contiguous; computed in f32 (f64).   Source: Shazeer 2020, arXiv:2002.05202,
/// eq. 5.
at::Tensor swiglu(const at::Tensor& gate_up);

/// gate_up becomes its gradient. dy [rows, F].
void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy);

}  // namespace kente
