#pragma once

#include <cmath>

#include "cuda/device.cuh"

namespace kente::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum over the warp, in every lane, always in the same order.
__device__ __forceinline__ float warp_sum(float value) {
  KENTE_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
    value += __shfl_xor_sync(kAllLanes, value, lanes);
  return value;
}

/// Over kLanes lanes beside each other, in each of them.
template <int kLanes = kWarp>
__device__ __forceinline__ float warp_max(float value) {
  KENTE_UNROLL
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, lanes));
  return value;
}

/// Which of the block's rows, and which of that row's warps, a thread belongs to: threadIdx.y
/// counts rows, threadIdx.x the threads of a row, whole warps.
struct RowPlace {
  unsigned warps;  // of a row
  unsigned first;  // of this row
  unsigned warp, lane;

  __device__ __forceinline__ RowPlace()
      : warps(blockDim.x / kWarp),
        first(threadIdx.y * warps),
        warp(first + threadIdx.x / kWarp),
        lane(threadIdx.x % kWarp) {}
};

/// kSums sums over the threads of each of the block's rows, each in every thread of its row, always
/// in the same order. All threads of the block call it; those whose rows are one warp do not wait.
template <int kSums>
__device__ __forceinline__ void row_sums(float (&values)[kSums]) {
  KENTE_UNROLL
  for (int s = 0; s < kSums; ++s) values[s] = warp_sum(values[s]);
  const RowPlace at;
  if (at.warps == 1) return;
  constexpr size_t kPartials = size_t{kSums} * kWarp;
  KENTE_SHARED(float, partial, kPartials);
  if (at.lane == 0) {
    KENTE_UNROLL
    for (int s = 0; s < kSums; ++s) partial[s * kWarp + at.warp] = values[s];
  }
  __syncthreads();
  KENTE_UNROLL
  for (int s = 0; s < kSums; ++s)
    values[s] = warp_sum(at.lane < at.warps ? partial[s * kWarp + at.first + at.lane] : 0.0f);
  __syncthreads();  // before the next sums come
}

__device__ __forceinline__ float row_sum(float value) {
  float values[1] = {value};
  row_sums(values);
  return values[0];
}

__device__ __forceinline__ float row_max(float value) {
  value = warp_max(value);
  const RowPlace at;
  if (at.warps == 1) return value;
  KENTE_SHARED(float, partial, kWarp);
  if (at.lane == 0) partial[at.warp] = value;
  __syncthreads();
  value = warp_max(at.lane < at.warps ? partial[at.first + at.lane] : -INFINITY);
  __syncthreads();
  return value;
}

}  // namespace kente::cuda
