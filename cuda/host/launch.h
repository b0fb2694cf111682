#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <utility>

#include "cuda/host/gpu.h"

namespace kente::cuda::host {

/// Takes launches for a pretended runtime that has streams.
using TakeLaunch = cudaError_t (*)(const LaunchShape& shape, cudaStream_t stream,
                                   std::function<void()> kernel);
/// Null where there is none: kernels run at once.
inline TakeLaunch take_launch = nullptr;

/// Runs a kernel on this OS thread's Gpu and returns when it has ended, whatever the stream; or
/// hands it to the pretended runtime.
template <class Kernel, class... Arguments>
cudaError_t launch(const LaunchShape& shape, cudaStream_t stream, Kernel kernel,
                   Arguments... arguments) {
  if (take_launch != nullptr) return take_launch(shape, stream, [=] { kernel(arguments...); });
  Gpu* gpu = Gpu::current();
  if (gpu == nullptr) return cudaErrorNoDevice;
  const bool ran = gpu->launch(shape, [&] { kernel(arguments...); });
  return ran ? cudaSuccess : cudaErrorInvalidConfiguration;
}

}  // namespace kente::cuda::host
