#pragma once

// What CUDA's compiler gives to a kernel, for the host compiler: its thread's place, barriers,
// shuffles and the fast functions. Names are CUDA's.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda/host/gpu.h"

// NOLINTBEGIN(bugprone-reserved-identifier): so CUDA named them

#define threadIdx (::kente::cuda::host::Gpu::current()->thread_index())
#define blockIdx (::kente::cuda::host::Gpu::current()->block_index())
#define blockDim (::kente::cuda::host::Gpu::current()->shape().block)
#define gridDim (::kente::cuda::host::Gpu::current()->shape().grid)
#define __launch_bounds__(...)

namespace kente::cuda::host {

/// What a lane reads of one that does not take part.
template <class T>
T nothing() {
  T value;
  std::memset(&value, 0xff, sizeof(value));
  return value;
}

template <class T>
T shuffle(uint32_t mask, T value, unsigned source, const Site& site) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const std::optional<uint64_t> got = Gpu::current()->exchange(mask, bits, source, site);
  if (!got) return nothing<T>();
  std::memcpy(&value, &*got, sizeof(T));
  return value;
}

/// The number within its warp.
inline unsigned lane_number() {
  const uint3 at = threadIdx;
  const dim3 block = blockDim;
  return (at.x + block.x * (at.y + block.y * at.z)) % 32;
}

}  // namespace kente::cuda::host

inline void __syncthreads(kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  kente::cuda::host::Gpu::current()->barrier(site);
}

inline void __syncwarp(uint32_t mask = 0xffffffffu,
                       kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  kente::cuda::host::Gpu::current()->warp_barrier(mask, site);
}

template <class T>
T __shfl_sync(uint32_t mask, T value, int source,
              kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  return kente::cuda::host::shuffle(mask, value, static_cast<unsigned>(source) % 32, site);
}

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes,
                  kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  const unsigned source = kente::cuda::host::lane_number() ^ static_cast<unsigned>(lanes);
  return kente::cuda::host::shuffle(mask, value, source, site);
}

/// From the lane that many below; its own value where there is none.
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned below,
                 kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  const unsigned lane = kente::cuda::host::lane_number();
  return kente::cuda::host::shuffle(mask, value, lane >= below ? lane - below : lane, site);
}

inline unsigned __ballot_sync(uint32_t mask, int value,
                              kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  return kente::cuda::host::Gpu::current()->vote(mask, value != 0, site);
}

inline int __any_sync(uint32_t mask, int value,
                      kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  return kente::cuda::host::Gpu::current()->vote(mask, value != 0, site) != 0;
}

inline int __all_sync(uint32_t mask, int value,
                      kente::cuda::host::Site site = kente::cuda::host::Site::current()) {
  return kente::cuda::host::Gpu::current()->vote(mask, value != 0, site) == mask;
}

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }

// NOLINTEND(bugprone-reserved-identifier)
