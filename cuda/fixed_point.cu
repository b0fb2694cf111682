#include "cuda/fixed_point.h"

#include "cuda/dispatch.cuh"
#include "cuda/flat.cuh"

namespace kente::cuda {
namespace {

constexpr double kGradientScale = 0x1p50;

/// Integers of 64 bits lie two to an access: a lane's accesses number l and 32 + l of a group hold
/// the elements 2 l, 2 l + 1 and 64 + 2 l, 65 + 2 l of each half.
constexpr int kPairs = kGroupLane / 2;

__device__ __forceinline__ int pair_column(int pair) {
  return pair * 2 * kWarp + static_cast<int>(threadIdx.x % kWarp) * 2;
}

/// From the elements a lane loaded as fp32 to those of its pairs.
__device__ __forceinline__ GroupPart to_pairs(const GroupPart& part) {
  const unsigned lane = threadIdx.x % kWarp;
  GroupPart result;
  KENTE_UNROLL
  for (int pair = 0; pair < kPairs; ++pair) {
    const int half = pair / 2;
    const int source = pair % 2 * (kWarp / 2) + static_cast<int>(lane / 2);
    float from[4];
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) from[i] = __shfl_sync(kAllLanes, part[4 * half + i], source);
    result[2 * pair] = lane % 2 == 0 ? from[0] : from[2];
    result[2 * pair + 1] = lane % 2 == 0 ? from[1] : from[3];
  }
  return result;
}

/// And back.
__device__ __forceinline__ GroupPart from_pairs(const GroupPart& part) {
  const unsigned lane = threadIdx.x % kWarp;
  GroupPart result;
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) {
    const int half = i / 4;
    const auto source = static_cast<int>(lane % (kWarp / 2) * 2) + i % 4 / 2;
    const float low = __shfl_sync(kAllLanes, part[4 * half + i % 2], source);
    const float high = __shfl_sync(kAllLanes, part[4 * half + 2 + i % 2], source);
    result[i] = lane < kWarp / 2 ? low : high;
  }
  return result;
}

/// What is added, and whether it could be.
__device__ __forceinline__ uint64_t fixed(float gradient, double limit, unsigned& poison) {
  const double x = rint(static_cast<double>(gradient) * kGradientScale);
  const bool good = fabs(x) < limit;  // false for NaN too
  poison += good ? 0u : 1u;
  return good ? static_cast<uint64_t>(static_cast<long long>(x)) : 0u;
}

__device__ __forceinline__ float from_fixed(uint64_t q) {
  return static_cast<float>(static_cast<double>(static_cast<long long>(q)) * (1 / kGradientScale));
}

__global__ void __launch_bounds__(kGroupThreads)
    accumulate_kernel(Global<const float> gradient, Global<uint64_t> accumulator,
                      Global<unsigned long long> poison, int64_t count, double limit) {
  const int64_t begin = group_of_warp() * kGroup;
  if (begin >= count) return;
  unsigned bad = 0;
  if (begin + kGroup <= count) {
    const GroupPart g = to_pairs(load_group(gradient, begin));
    KENTE_UNROLL
    for (int pair = 0; pair < kPairs; ++pair) {
      auto sums = accumulator.load<16>(begin + pair_column(pair));
      KENTE_UNROLL
      for (int i = 0; i < 2; ++i) sums[i] += fixed(g[2 * pair + i], limit, bad);
      accumulator.store<16>(begin + pair_column(pair), sums);
    }
  } else {
    for (int64_t i = begin + threadIdx.x % kWarp; i < count; i += kWarp) {
      const uint64_t sum = accumulator.load_one(i) + fixed(gradient.load_one(i), limit, bad);
      accumulator.store_one(i, sum);
    }
  }
  if (bad > 0) poison.add(0, bad);
}

__global__ void __launch_bounds__(kGroupThreads)
    to_float_kernel(Global<const uint64_t> accumulator, Global<float> gradient, int64_t count) {
  const int64_t begin = group_of_warp() * kGroup;
  if (begin >= count) return;
  if (begin + kGroup <= count) {
    GroupPart part;
    KENTE_UNROLL
    for (int pair = 0; pair < kPairs; ++pair) {
      const auto sums = accumulator.load<16>(begin + pair_column(pair));
      KENTE_UNROLL
      for (int i = 0; i < 2; ++i) part[2 * pair + i] = from_fixed(sums[i]);
    }
    store_group(gradient, begin, from_pairs(part));
  } else {
    for (int64_t i = begin + threadIdx.x % kWarp; i < count; i += kWarp)
      gradient.store_one(i, from_fixed(accumulator.load_one(i)));
  }
}

constexpr int kSquaresBlock = 1024;
constexpr double kSquaresLimit = 0x1p40;

/// The sum over the warp of squares of up to kSquaresBlock elements.
__device__ __forceinline__ double sum_of_block(Global<const float> values, int64_t begin,
                                               int64_t count) {
  double sum = 0;
  KENTE_UNROLL
  for (int group = 0; group < kSquaresBlock; group += kGroup) {
    if (begin + group >= count) break;
    const GroupPart part = load_any(values, begin + group, count);
    KENTE_UNROLL
    for (int i = 0; i < kGroupLane; ++i)
      sum += static_cast<double>(part[i]) * static_cast<double>(part[i]);
  }
  KENTE_UNROLL
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
  return sum;
}

__global__ void __launch_bounds__(kGroupThreads)
    sum_squares_kernel(const SquaresTensor* tensors, const TensorChunk* chunks,
                       Global<unsigned long long> total) {
  const TensorChunk chunk = chunks[blockIdx.x];
  const SquaresTensor tensor = tensors[chunk.tensor];
  const int64_t end = end_of(chunk, tensor.count);
  unsigned long long whole = 0, high = 0, low = 0, poison = 0;
  for (int64_t begin = chunk.begin + int64_t{threadIdx.x / kWarp} * kSquaresBlock; begin < end;
       begin += kGroupThreads / kWarp * kSquaresBlock) {
    const double sum = sum_of_block(Global(tensor.values), begin, tensor.count);
    if (!(sum < kSquaresLimit)) {
      ++poison;
      continue;
    }
    // Exact: the sum has 53 bits, of which floor() takes the upper ones.
    const double units = floor(sum), rest = (sum - units) * 0x1p40, upper = floor(rest);
    whole += static_cast<unsigned long long>(units);
    high += static_cast<unsigned long long>(upper);
    low += static_cast<unsigned long long>((rest - upper) * 0x1p40);
  }
  if (threadIdx.x % kWarp != 0) return;
  if (whole > 0) total.add(0, whole);
  if (high > 0) total.add(1, high);
  if (low > 0) total.add(2, low);
  if (poison > 0) total.add(3, poison);
}

}  // namespace

cudaError_t accumulate_fixed(const FixedAccumulate& op, const Queue& queue) {
  if (!valid_count(op.count) || op.terms < 1 || !aligned(op.gradient, op.accumulator, op.poison))
    return cudaErrorInvalidValue;
  return KENTE_LAUNCH(accumulate_kernel, group_grid(op.count), dim3(kGroupThreads), 0, queue.stream,
                      Global(op.gradient), Global(op.accumulator), Global(op.poison), op.count,
                      0x1p62 / static_cast<double>(op.terms));
}

cudaError_t fixed_to_float(const uint64_t* accumulator, float* gradient, int64_t count,
                           const Queue& queue) {
  if (!valid_count(count) || !aligned(accumulator, gradient)) return cudaErrorInvalidValue;
  return KENTE_LAUNCH(to_float_kernel, group_grid(count), dim3(kGroupThreads), 0, queue.stream,
                      Global(accumulator), Global(gradient), count);
}

cudaError_t sum_squares(const SumSquares& op, const Queue& queue) {
  if (!valid_rows(op.chunk_count) || !aligned(op.tensors, op.chunks, op.sum))
    return cudaErrorInvalidValue;
  return KENTE_LAUNCH(sum_squares_kernel, dim3(static_cast<unsigned>(op.chunk_count)),
                      dim3(kGroupThreads), 0, queue.stream, op.tensors, op.chunks,
                      Global(reinterpret_cast<unsigned long long*>(op.sum)));
}

}  // namespace kente::cuda
