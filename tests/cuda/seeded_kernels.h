#pragma once

#include "cuda/reduce.cuh"
#include "cuda/vector.cuh"

namespace kente::cuda {

// Kernels of one block with an intended bug each, or none, to see that cuda/host finds it.
using Seeded = void (*)(Global<const float> in, Global<float> out);

constexpr unsigned kSeededThreads = 64;

enum class Barriers { kAll, kFirstDeleted, kSecondDeleted };

/// Turns the block's elements round twice, through shared memory.
template <Barriers kBarriers>
void reverse_twice(Global<const float> in, Global<float> out) {
  KENTE_SHARED(float, held, kSeededThreads);
  const unsigned thread = threadIdx.x;
  held[thread] = in.load_one(thread);
  if (kBarriers != Barriers::kFirstDeleted) __syncthreads();
  const float once = held[kSeededThreads - 1 - thread];
  if (kBarriers != Barriers::kSecondDeleted) __syncthreads();
  held[thread] = once;
  __syncthreads();
  out.store_one(thread, held[kSeededThreads - 1 - thread]);
}

enum class WarpBarrier { kThere, kDeleted };

/// The same within each warp.
template <WarpBarrier kBarrier>
void reverse_warps(Global<const float> in, Global<float> out) {
  KENTE_SHARED(float, held, kSeededThreads);
  const unsigned thread = threadIdx.x, lane = thread % kWarp;
  held[thread] = in.load_one(thread);
  if (kBarrier == WarpBarrier::kThere) __syncwarp();
  out.store_one(thread, held[thread - lane + kWarp - 1 - lane]);
}

}  // namespace kente::cuda
