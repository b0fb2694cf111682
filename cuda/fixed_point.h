#pragma once

#include "cuda/chunks.h"
#include "cuda/queue.h"

namespace kente::cuda {

// Sums in fixed point, in which order cannot matter; the formats are csrc/nn/ops/fixed_point.h's.

/// accumulator[i] += rint(gradient[i] 2^50), wrapping. terms: how many such sums meet in one
/// element over the whole step. An element that is not finite, or at or beyond 2^62 / terms, is not
/// added and counted in poison. Moves 20 bytes an element.
struct FixedAccumulate {
  const float* gradient = nullptr;       // [count]
  uint64_t* accumulator = nullptr;       // [count]
  unsigned long long* poison = nullptr;  // one, added to
  int64_t count = 0;
  int64_t terms = 1;
};
cudaError_t accumulate_fixed(const FixedAccumulate& op, const Queue& queue);

/// gradient[i] = accumulator[i] 2^-50, rounded to f32 once. Moves 12 bytes an element.
cudaError_t fixed_to_float(const uint64_t* accumulator, float* gradient, int64_t count,
                           const Queue& queue);

/// A sum of squares as three integers that add without carry: value = whole + high 2^-40 + low
/// 2^-80.
struct FixedSquares {
  unsigned long long whole = 0, high = 0, low = 0;
  unsigned long long poison = 0;  // blocks whose sum is not finite or not below 2^40
};

/// One tensor whose squares are summed; aligned to 16 bytes.
struct SquaresTensor {
  const float* values = nullptr;
  int64_t count = 0;
};

/// Adds the squares of all tensors to *sum in one pass, which also finds what is not finite: in
/// double over blocks of 1,024 elements in a fixed order, then in integers. Moves 4 bytes an
/// element.
struct SumSquares {
  const SquaresTensor* tensors = nullptr;  // on the device
  const TensorChunk* chunks = nullptr;     // on the device: chunks_of the tensors' counts
  int64_t chunk_count = 0;
  FixedSquares* sum = nullptr;  // on the device, added to
};
cudaError_t sum_squares(const SumSquares& op, const Queue& queue);

}  // namespace kente::cuda
