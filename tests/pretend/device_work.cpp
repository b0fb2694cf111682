#include "tests/pretend/device_work.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <stdexcept>
#include <utility>

#include "csrc/base/errors.h"

namespace kente::pretend {

void queue_work(cudaStream_t stream, const std::string& what, std::function<void()> work) {
  PretendGpu& gpu = PretendNode::current()->gpu(stream->gpu);
  const cudaError_t error = gpu.put(stream, {.what = what, .ready = {}, .run = [=] {
                                               work();
                                               return cudaSuccess;
                                             }});
  if (error != cudaSuccess) throw DeviceError(what + ": " + cudaGetErrorName(error));
}

DeviceArray::DeviceArray(PretendGpu& gpu, DType dtype, void* data, std::vector<int64_t> sizes,
                         std::vector<int64_t> strides)
    : dtype_(dtype), data_(data), sizes_(std::move(sizes)), strides_(std::move(strides)) {
  int64_t last = 0;
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i] == 0) return;
    last += (sizes_[i] - 1) * strides_[i];
  }
  if (gpu.memory().find(static_cast<const std::byte*>(data), (last + 1) * size_of(dtype)) ==
      nullptr)
    throw std::runtime_error("memory that is no living allocation's");
}

void DeviceArray::fail(const std::string& what) { throw std::runtime_error(what); }

double DeviceArray::load(int64_t i) const {
  switch (dtype_) {
    case DType::kF32:
      return static_cast<double>(static_cast<const float*>(data_)[i]);
    case DType::kF16:
      return static_cast<double>(__half2float(static_cast<const __half*>(data_)[i]));
    case DType::kBF16:
      return static_cast<double>(__bfloat162float(static_cast<const __nv_bfloat16*>(data_)[i]));
    case DType::kI32:
      return static_cast<double>(static_cast<const int32_t*>(data_)[i]);
    default:
      throw std::runtime_error("numbers of " + std::string(name_of(dtype_)));
  }
}

void DeviceArray::store(int64_t i, double value) const {
  switch (dtype_) {
    case DType::kF32:
      static_cast<float*>(data_)[i] = static_cast<float>(value);
      return;
    case DType::kF16:
      static_cast<__half*>(data_)[i] = __float2half_rn(static_cast<float>(value));
      return;
    case DType::kBF16:
      static_cast<__nv_bfloat16*>(data_)[i] = __float2bfloat16_rn(static_cast<float>(value));
      return;
    default:
      throw std::runtime_error("numbers of " + std::string(name_of(dtype_)));
  }
}

}  // namespace kente::pretend
