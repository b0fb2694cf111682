#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

enum class RopeDirection { kForward, kBackward };

/// Rotates the pairs (i, i + head_dim / 2) of the first heads heads of every row, in place:
///   x_i <- x_i cos - x_{i + half} sin,   x_{i + half} <- x_{i + half} cos + x_i sin.
/// kBackward rotates back, which is the gradient. With q and k side by side in a row, one launch
/// turns both. Moves 2 rows heads head_dim elements and, once a row, its cos and sin.
/// head_dim a multiple of 16, stride of 8. Source: Su et al. 2021, arXiv:2104.09864, eq. 34, with
/// Hugging Face's order of pairs (rotate_half).
struct Rope {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t stride = 0;                  // elements from row to row, >= heads head_dim
  void* x = nullptr;                   // [rows, stride] dtype
  const int32_t* positions = nullptr;  // [rows], below the table's length, which nobody checks
  const float* cos_sin = nullptr;      // [.., head_dim]: cos of i < head_dim / 2, then sin
  RopeDirection direction = RopeDirection::kForward;
};
cudaError_t rope(const Rope& op, const Queue& queue);

}  // namespace kente::cuda
