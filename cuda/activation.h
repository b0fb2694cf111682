#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// y = silu(gate) up, silu(g) = g / (1 + e^-g), in fp32. Moves 3 rows width elements.
/// width a multiple of 8; rows width < 2^33. Source: Shazeer 2020, arXiv:2002.05202, eq. 5.
struct Swiglu {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* gate_up = nullptr;  // [rows, 2 width] dtype: gate, then up
  void* y = nullptr;              // [rows, width] dtype
};
cudaError_t swiglu(const Swiglu& op, const Queue& queue);

/// Moves 5 rows width elements.
struct SwigluBackward {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* gate_up = nullptr;  // [rows, 2 width] dtype
  const void* dy = nullptr;       // [rows, width] dtype
  void* grad = nullptr;           // [rows, 2 width] dtype, of gate_up; may be gate_up
};
cudaError_t swiglu_backward(const SwigluBackward& op, const Queue& queue);

/// y = h / (1 + e^(-2u)), u = sqrt(2 / pi) (h + 0.044715 h^3), h = x + bias: GELU's tanh form, in
/// fp32. Moves 2 rows width elements. width a multiple of 8; rows width < 2^33.
/// Source: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.
struct Gelu {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* x = nullptr;      // [rows, width] dtype
  const float* bias = nullptr;  // [width]; null: none
  void* y = nullptr;            // [rows, width] dtype; may be x
};
cudaError_t gelu(const Gelu& op, const Queue& queue);

/// dx = dy dy/dh, which is the gradient of x; column_sum of it is the bias' one. Moves 3 rows width
/// elements.
struct GeluBackward {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* x = nullptr;      // [rows, width] dtype
  const float* bias = nullptr;  // [width]; null: none
  const void* dy = nullptr;     // [rows, width] dtype
  void* dx = nullptr;           // [rows, width] dtype; may be x or dy
};
cudaError_t gelu_backward(const GeluBackward& op, const Queue& queue);

}  // namespace kente::cuda
