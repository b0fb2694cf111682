#include <c10/cuda/CUDAStream.h>

#include "csrc/nn/ops/gpu_ops.h"

namespace kente {

void bind_tensors(int gpu, Stream& stream) {
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(
      static_cast<cudaStream_t>(stream.native()), static_cast<c10::DeviceIndex>(gpu)));
}

}  // namespace kente
