#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// The widest row of a norm; a width is a multiple of 8.
constexpr int kMostNormWidth = 8192;

/// Forward of both norms over the last axis of x, optionally of x + residual:
///   RMS norm    y = x / sqrt(mean(x^2) + eps) * w
///   layer norm  y = (x - mean) / sqrt(mean((x - mean)^2) + eps) * w + b
/// With a residual, s = x + residual is rounded to the dtype, stored in sum, and is what is
/// normed. Sums in fp32. Moves 2 rows width elements, 4 with a residual.
struct NormForward {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  float eps = 0;
  const void* x = nullptr;         // [rows, width] dtype
  const void* residual = nullptr;  // [rows, width] dtype; null: none
  const float* w = nullptr;        // [width]
  const float* b = nullptr;        // [width]; layer norm
  void* sum = nullptr;             // [rows, width] dtype, with a residual; may be x or residual
  void* y = nullptr;               // [rows, width] dtype; may be x where there is no residual
  float* stats = nullptr;          // RMS norm: [rows] rstd; layer norm: [rows, 2] mean, rstd
};

/// Backward. With g = dy w and xhat the normed x:
///   RMS norm    dx = rstd (g - xhat mean(g xhat)) + residual_grad
///   layer norm  dx = rstd (g - mean(g) - xhat mean(g xhat)) + residual_grad
/// grad_w += sum over rows of dy xhat, grad_b += sum over rows of dy, in an order that depends on
/// rows, width and the queue's tuning alone. Moves 3 rows width elements, 4 with residual_grad.
struct NormBackward {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* x = nullptr;              // what was normed
  const float* stats = nullptr;         // of the forward pass
  const float* w = nullptr;             // [width]
  const void* dy = nullptr;             // [rows, width] dtype
  const void* residual_grad = nullptr;  // [rows, width] dtype; null: none
  void* dx = nullptr;                   // [rows, width] dtype; may be dy or residual_grad
  float* grad_w = nullptr;              // [width], added to
  float* grad_b = nullptr;              // [width], added to; layer norm
  float* workspace = nullptr;           // norm_backward_workspace() floats
};

/// Floats of workspace: enough for either norm.
int64_t norm_backward_workspace(int64_t rows, int64_t width, const Tuning& tuning);

/// Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4.
cudaError_t rms_norm(const NormForward& norm, const Queue& queue);
cudaError_t rms_norm_backward(const NormBackward& norm, const Queue& queue);

/// Source: Ba et al. 2016, arXiv:1607.06450, eq. 3-4.
cudaError_t layer_norm(const NormForward& norm, const Queue& queue);
cudaError_t layer_norm_backward(const NormBackward& norm, const Queue& queue);

}  // namespace kente::cuda
