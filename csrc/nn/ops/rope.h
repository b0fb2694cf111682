#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kente {

/// cos and sin of position * theta^(-2i / head_dim), made in double, rounded once.
struct RopeTable {
  at::Tensor cos_sin;  // [positions, head_dim]: cos of i < head_dim / 2, then sin; f32 (f64)
};

/// head_dim must be even.
RopeTable make_rope_table(int64_t positions, int64_t head_dim, double theta, at::ScalarType real);

enum class RopeDirection { kForward, kBackward };

/// Rotates the pairs (i, i + head_dim / 2) of the first heads heads of every row, in place:
///   x_i <- x_i cos - x_{i + half} sin,   x_{i + half} <- x_{i + half} cos + x_i sin.
/// kBackward rotates back, which is the gradient. x [rows, width] compute dtype, contiguous, width
/// >= heads head_dim; positions [rows], each below the table's length. Source: Su et al. 2021,
/// arXiv:2104.09864, eq. 34, with Hugging Face's order of pairs (rotate_half).
void rope(const at::Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table,
          RopeDirection direction);

}  // namespace kente
