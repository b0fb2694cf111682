#pragma once

#include "cuda/check.h"
#include "cuda/chunks.h"
#include "cuda/reduce.cuh"
#include "cuda/vector.cuh"

namespace kente::cuda {

// Kernels over arrays of mixed dtypes take them in groups of 256 elements, a warp a group. Lane l
// computes on the elements 4 l .. 4 l + 3 of the group and of its second half, which is how fp32
// lies in memory for accesses of 16 bytes side by side. Of a dtype of another size a lane's access
// holds other elements than the lane computes on, so lanes hand them over.
constexpr int kGroup = 256;
constexpr int kGroupThreads = 256;
constexpr int kGroupLane = 8;  // elements of a lane

/// A lane's elements of a group.
using GroupPart = Floats<kGroupLane>;

/// Where in its group a lane's element i is.
__device__ __forceinline__ int group_column(int i) {
  return i / 4 * (kGroup / 2) + static_cast<int>(threadIdx.x % kWarp) * 4 + i % 4;
}

__device__ __forceinline__ GroupPart load_group(Global<const float> from,
                                                int64_t begin KENTE_SITE_PARAMETER) {
  GroupPart part;
  KENTE_UNROLL
  for (int half = 0; half < 2; ++half) {
    const auto four = from.load<16>(begin + group_column(4 * half) KENTE_SITE_ARGUMENT);
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) part[4 * half + i] = four[i];
  }
  return part;
}

__device__ __forceinline__ void store_group(Global<float> to, int64_t begin,
                                            const GroupPart& part KENTE_SITE_PARAMETER) {
  KENTE_UNROLL
  for (int half = 0; half < 2; ++half) {
    const Vector<float, 4> four{part[4 * half], part[4 * half + 1], part[4 * half + 2],
                                part[4 * half + 3]};
    to.store<16>(begin + group_column(4 * half), four KENTE_SITE_ARGUMENT);
  }
}

/// Lane l's access has the elements 8 l .. 8 l + 7: those that the lanes 2 l and 2 l + 1, modulo
/// 32, compute on, of the half that l is in.
template <class T>
__device__ __forceinline__ GroupPart load_group(Global<const T> from,
                                                int64_t begin KENTE_SITE_PARAMETER) {
  static_assert(sizeof(T) == 2);
  const unsigned lane = threadIdx.x % kWarp;
  const auto eight = from.template load<16>(begin + static_cast<int>(lane) * 8 KENTE_SITE_ARGUMENT);
  uint64_t pieces[2];
  memcpy(pieces, &eight, 16);
  GroupPart part;
  KENTE_UNROLL
  for (unsigned half = 0; half < 2; ++half) {
    const auto source = static_cast<int>(half * kWarp / 2 + lane / 2);
    const uint64_t low = __shfl_sync(kAllLanes, pieces[0], source);
    const uint64_t high = __shfl_sync(kAllLanes, pieces[1], source);
    const uint64_t mine = lane % 2 == 0 ? low : high;
    Vector<T, 4> four;
    memcpy(&four, &mine, 8);
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) part[4 * static_cast<int>(half) + i] = to_float(four[i]);
  }
  return part;
}

template <class T>
__device__ __forceinline__ void store_group(Global<T> to, int64_t begin,
                                            const GroupPart& part KENTE_SITE_PARAMETER) {
  static_assert(sizeof(T) == 2);
  const unsigned lane = threadIdx.x % kWarp;
  uint64_t halves[2];
  KENTE_UNROLL
  for (int half = 0; half < 2; ++half) {
    Vector<T, 4> four;
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) four[i] = from_float<T>(part[4 * half + i]);
    memcpy(&halves[half], &four, 8);
  }
  uint64_t pieces[2];
  KENTE_UNROLL
  for (unsigned piece = 0; piece < 2; ++piece) {
    const auto source = static_cast<int>(lane % (kWarp / 2) * 2 + piece);
    const uint64_t first = __shfl_sync(kAllLanes, halves[0], source);
    const uint64_t second = __shfl_sync(kAllLanes, halves[1], source);
    pieces[piece] = lane < kWarp / 2 ? first : second;
  }
  typename Global<T>::template Wide<16> eight;
  memcpy(&eight, pieces, 16);
  to.template store<16>(begin + static_cast<int>(lane) * 8, eight KENTE_SITE_ARGUMENT);
}

/// What is left at the end of an array, at most a group, element by element.
template <class T>
__device__ __forceinline__ GroupPart load_tail(Global<const T> from, int64_t begin,
                                               int64_t end KENTE_SITE_PARAMETER) {
  GroupPart part{};
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) {
    const int64_t index = begin + group_column(i);
    if (index < end) part[i] = to_float(from.load_one(index KENTE_SITE_ARGUMENT));
  }
  return part;
}

template <class T>
__device__ __forceinline__ void store_tail(Global<T> to, int64_t begin, int64_t end,
                                           const GroupPart& part KENTE_SITE_PARAMETER) {
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) {
    const int64_t index = begin + group_column(i);
    if (index < end) to.store_one(index, from_float<T>(part[i]) KENTE_SITE_ARGUMENT);
  }
}

/// The group that begins there in an array of which end is the end: whole, or its tail.
template <class T>
__device__ __forceinline__ GroupPart load_any(Global<const T> from, int64_t begin,
                                              int64_t end KENTE_SITE_PARAMETER) {
  if (begin + kGroup <= end) return load_group(from, begin KENTE_SITE_ARGUMENT);
  return load_tail(from, begin, end KENTE_SITE_ARGUMENT);
}

template <class T>
__device__ __forceinline__ void store_any(Global<T> to, int64_t begin, int64_t end,
                                          const GroupPart& part KENTE_SITE_PARAMETER) {
  if (begin + kGroup <= end)
    store_group(to, begin, part KENTE_SITE_ARGUMENT);
  else
    store_tail(to, begin, end, part KENTE_SITE_ARGUMENT);
}

/// Of all groups, the number of this warp's.
__device__ __forceinline__ int64_t group_of_warp() {
  return int64_t{blockIdx.x} * (kGroupThreads / kWarp) + threadIdx.x / kWarp;
}

inline dim3 group_grid(int64_t count) {
  return dim3(static_cast<unsigned>(ceil_div(count, int64_t{kGroupThreads / kWarp} * kGroup)));
}

/// Where a chunk of a tensor of count elements ends.
__device__ __forceinline__ int64_t end_of(const TensorChunk& chunk, int64_t count) {
  const int64_t most = chunk.begin + kChunkElements;
  return most < count ? most : count;
}

/// So many elements that the grid has fewer than 2^31 blocks.
inline bool valid_count(int64_t count) { return count > 0 && count <= int64_t{1} << 41; }

}  // namespace kente::cuda
