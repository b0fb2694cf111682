#pragma once

#include "cuda/check.h"
#include "cuda/cross_entropy.h"
#include "cuda/dispatch.cuh"
#include "cuda/reduce.cuh"

namespace kente::cuda {

/// A maximum and the sum of e^(l - maximum), of which two can become one.
struct RunningSum {
  float maximum = -INFINITY;
  float sum = 0;

  /// One more logit.
  __device__ __forceinline__ void add(float logit) {
    if (logit > maximum) {
      sum = sum * __expf(maximum - logit) + 1.0f;
      maximum = logit;
    } else if (logit != -INFINITY) {  // NaN goes into the sum
      sum += __expf(logit - maximum);
    }
  }
  /// The sum as it would be with that maximum, which is none of its logits' below.
  __device__ __forceinline__ float with(float common) const {
    return sum == 0.0f ? 0.0f : sum * __expf(maximum - common);
  }
};

/// Of the whole block.
__device__ __forceinline__ RunningSum block_total(const RunningSum& mine) {
  RunningSum total;
  total.maximum = row_max(mine.maximum);
  total.sum = row_sum(mine.with(total.maximum));
  return total;
}

/// What a row's gradient is made of.
struct GradientOf {
  RunningSum total;
  float scale;  // 0: the row is masked
  int64_t target;
  int64_t columns;  // beyond them lies padding

  __device__ __forceinline__ float at(int64_t column, float logit) const {
    if (column >= columns || scale == 0.0f) return 0.0f;
    const float p = __fdividef(__expf(logit - total.maximum), total.sum);
    return scale * (column == target ? p - 1.0f : p);
  }
};

inline bool valid(const LossRows& loss, int64_t columns, int64_t stride, DataType dtype) {
  constexpr int64_t kMostStride = int64_t{1} << 20;
  return valid_rows(loss.rows) && columns > 0 && columns <= stride && stride <= kMostStride &&
         stride % (16 / size_of(dtype)) == 0 && aligned(loss.targets, loss.nats) &&
         aligned_or_null(loss.mask);
}

}  // namespace kente::cuda
