#pragma once

#include <cuda_runtime_api.h>

#include "cuda/host/gpu.h"

namespace kente::cuda::host {

/// Runs a kernel on this OS thread's Gpu; returns when it has ended, whatever the stream.
template <class Kernel, class... Arguments>
cudaError_t launch(const LaunchShape& shape, cudaStream_t, Kernel kernel, Arguments... arguments) {
  Gpu* gpu = Gpu::current();
  if (gpu == nullptr) return cudaErrorNoDevice;
  const bool ran = gpu->launch(shape, [&] { kernel(arguments...); });
  return ran ? cudaSuccess : cudaErrorInvalidConfiguration;
}

}  // namespace kente::cuda::host
