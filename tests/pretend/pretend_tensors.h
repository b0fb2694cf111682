#pragma once

#include <ATen/core/Tensor.h>

#include "tests/pretend/device_work.h"

// What of libtorch's CUDA part csrc/nn calls, registered with its CPU part: tensors on pretended
// GPUs, views of them, copies between them, and two attention kernels. All is queued in the stream
// that csrc/nn/ops/gpu_ops.h's bind_tensors() named, as the real ones do.

namespace kente::pretend {

/// The stream of this thread's tensors.
cudaStream_t tensor_stream();

/// A tensor's numbers. To be made inside of work: then the tensor may be gone, its memory is not.
struct TensorAt {
  explicit TensorAt(const at::Tensor& tensor);
  DeviceArray open() const;

  int gpu = 0;
  DType dtype = DType::kF32;
  void* data = nullptr;
  std::vector<int64_t> sizes, strides;
};

}  // namespace kente::pretend
