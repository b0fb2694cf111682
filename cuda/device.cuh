#pragma once

// The one file that knows which compiler reads a kernel: CUDA's, for a GPU, or the host's, for
// cuda/host, which runs the same source on the CPU in tests.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)

/// Before a loop whose registers must not be indexed at run time.
#define KENTE_UNROLL _Pragma("unroll")
/// Before a loop of unknown length: so many rounds' loads are on their way at once.
#define KENTE_UNROLL_BY(rounds) KENTE_PRAGMA(unroll rounds)
#define KENTE_PRAGMA(words) _Pragma(#words)

#define KENTE_SITE_PARAMETER
#define KENTE_SITE_ARGUMENT

/// count values of the type, shared by the block; what they hold at first is unknown.
#define KENTE_SHARED(type, name, count) __shared__ type name[count]
/// The launch's dynamic shared memory, aligned to 16 bytes.
#define KENTE_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char kente_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(kente_dynamic_shared)
/// Launches a kernel; the value is a cudaError_t. A name with commas goes in parentheses.
#define KENTE_LAUNCH(kernel, grid, block, bytes, stream, ...) \
  ::kente::cuda::launch((grid), (block), (bytes), (stream), kernel, __VA_ARGS__)

namespace kente::cuda {

/// Above this a kernel has to be told that it may have so much.
constexpr size_t kSharedWithoutAsking = size_t{48} << 10;

template <class Kernel, class... Arguments>
cudaError_t launch(dim3 grid, dim3 block, size_t bytes, cudaStream_t stream, Kernel kernel,
                   Arguments... arguments) {
  if (bytes > kSharedWithoutAsking) {
    const cudaError_t allowed = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (allowed != cudaSuccess) return allowed;
  }
  kernel<<<grid, block, bytes, stream>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace kente::cuda

#else

#include "cuda/host/intrinsics.h"
#include "cuda/host/launch.h"

#define KENTE_UNROLL
#define KENTE_UNROLL_BY(rounds)

#define KENTE_SITE_PARAMETER , ::kente::cuda::host::Site site = ::kente::cuda::host::Site::current()
#define KENTE_SITE_ARGUMENT , site

// NOLINTBEGIN(bugprone-macro-parentheses): a type, and a name being declared
#define KENTE_SHARED(type, name, count)                                              \
  type* const name = static_cast<type*>(::kente::cuda::host::Gpu::current()->shared( \
      sizeof(type) * (count), alignof(type), ::kente::cuda::host::Site::current()))
#define KENTE_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>( \
      ::kente::cuda::host::Gpu::current()->dynamic_shared(::kente::cuda::host::Site::current()))
// NOLINTEND(bugprone-macro-parentheses)
#define KENTE_LAUNCH(kernel, grid, block, bytes, stream, ...) \
  ::kente::cuda::host::launch({#kernel, (grid), (block), (bytes)}, (stream), kernel, __VA_ARGS__)

#endif
