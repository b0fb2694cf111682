#pragma once

#include <cstdint>

namespace kente {

/// Fixed-point sums, in which order cannot matter.
///
/// Gradients: q = rint(g 2^50), added in wrapping 64-bit integers. A sum of n terms is exact while
/// each |q| < 2^62 / n, so a term at or beyond that limit, or a non-finite one, is counted as
/// poison and not added.
inline constexpr double kGradientScale = 0x1p50;

/// accumulator[i] += rint(gradient[i] 2^50) for count elements. terms: how many such sums meet in
/// one element over the whole step, on all ranks. Returns how many elements were poison.
int64_t accumulate_fixed(const float* gradient, uint64_t* accumulator, int64_t count,
                         int64_t terms);

/// gradient[i] = accumulator[i] 2^-50, rounded to f32 once.
void fixed_to_float(const uint64_t* accumulator, float* gradient, int64_t count);

/// A sum of squares as three integers that add without carry: value = whole + high 2^-40 + low
/// 2^-80. A block's sum is below 2^40, and so is each of its integers: 2^23 blocks fit.
struct FixedNorm {
  int64_t whole = 0;
  int64_t high = 0;
  int64_t low = 0;
  int64_t poison = 0;  // blocks whose sum is not finite or not below 2^40

  /// The Euclidean norm.
  double root() const;
};

/// Adds the squares of gradient [count], summed in double over blocks of kBlockElements in a fixed
/// order; count is a multiple of kBlockElements.
void add_squares(const float* gradient, int64_t count, FixedNorm& norm);

/// A sum of losses as integers: nats 2^32. A term that is not finite, or at or beyond 2^30 / terms,
/// is counted as poison and not added.
struct FixedLoss {
  int64_t nats = 0;
  int64_t poison = 0;

  /// terms: how many meet in the sum, at most.
  void add(double loss, int64_t terms);
  /// In nats; not a number where something was poison.
  double total() const;
};

}  // namespace kente
