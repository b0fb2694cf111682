#include <ATen/ops/empty.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "csrc/base/errors.h"
#include "csrc/base/round_up.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "cuda/cast.h"
#include "cuda/column_sum.h"
#include "cuda/queue.h"

namespace kente {
namespace {

constexpr int64_t kPlaneMultiple = 64;  // i32: 256 bytes

}  // namespace

const GpuBatch& GpuBatch::of(const BatchOnDevice& batch) {
  const auto* own = dynamic_cast<const GpuBatch*>(&batch);
  KENTE_CHECK(own != nullptr, "a micro-batch on another kind of device");
  return *own;
}

const int32_t* GpuBatch::plane(MicroBatch::Field field) const {
  return planes_.const_data_ptr<int32_t>() + field * planes_.size(1);
}

cuda::DataType data_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return cuda::DataType::kF32;
    case at::kHalf:
      return cuda::DataType::kF16;
    case at::kBFloat16:
      return cuda::DataType::kBF16;
    default:
      throw InternalError(std::string("no kernel for dtype ") + c10::toString(type));
  }
}

void check_launch(int error, const char* operation) {
  if (error == cudaSuccess) return;
  KENTE_CHECK(error != cudaErrorInvalidValue, std::string(operation) + " of these shapes");
  const auto code = static_cast<cudaError_t>(error);
  throw DeviceError(std::string(operation) + ": " + cudaGetErrorName(code) + ", " +
                    cudaGetErrorString(code) +
                    "; resume the run, without this GPU if it happens again");
}

GpuOps::GpuOps(int gpu, Device& device, Stream& stream)
    : gpu_(gpu),
      device_(device),
      stream_(stream),
      compute_capability_(device.facts().compute_capability),
      staging_(device),
      gemm_(make_gemm(device, stream)) {
  bind_tensors(gpu, stream);
}

std::unique_ptr<Ops> make_gpu_ops(int gpu, Device& device, Stream& stream) {
  return std::make_unique<GpuOps>(gpu, device, stream);
}

cuda::Queue GpuOps::queue() const {
  return {.stream = static_cast<cudaStream_t>(stream_.native()),
          .tuning = cuda::tuning_of(compute_capability_)};
}

at::Tensor GpuOps::empty(at::IntArrayRef sizes, at::ScalarType type) {
  const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(gpu_));
  return at::empty(sizes, at::TensorOptions().dtype(type).device(device));
}

at::Tensor GpuOps::zeros(at::IntArrayRef sizes, at::ScalarType type) {
  at::Tensor tensor = empty(sizes, type);
  clear(tensor);
  return tensor;
}

void GpuOps::clear(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "a tensor with gaps");
  stream_.clear(tensor.mutable_data_ptr(), static_cast<int64_t>(tensor.nbytes()));
}

void GpuOps::scale(const at::Tensor& tensor, double factor) {
  if (tensor.numel() == 0) return;
  check_launch(cuda::cast_scale({.count = tensor.numel(),
                                 .from = tensor.const_data_ptr(),
                                 .to = tensor.mutable_data_ptr(),
                                 .factor = static_cast<float>(factor)},
                                queue()),
               "cast_scale");
}

void GpuOps::send(const void* data, const at::Tensor& to) {
  const auto bytes = static_cast<int64_t>(to.nbytes());
  if (bytes == 0) return;
  Staging::Place place = staging_.take(bytes);
  std::memcpy(place.data(), data, to.nbytes());
  staging_.upload(std::move(place), to.mutable_data_ptr(), bytes, stream_);
}

at::Tensor GpuOps::from_host(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "a tensor with gaps");
  at::Tensor copy = empty(tensor.sizes(), tensor.scalar_type());
  send(tensor.const_data_ptr(), copy);
  return copy;
}

at::Tensor GpuOps::to_host(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "a tensor with gaps");
  at::Tensor copy = at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()));
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  if (bytes == 0) return copy;
  Staging::Place place = staging_.take(bytes);
  stream_.copy(place.data(), tensor.const_data_ptr(), bytes);
  stream_.record(place.event());
  place.event().wait(Deadline::after_seconds(kLongestWaitSeconds), "a copy to the host");
  std::memcpy(copy.mutable_data_ptr(), place.data(), static_cast<size_t>(bytes));
  staging_.give_back(std::move(place), stream_);
  return copy;
}

at::Tensor GpuOps::bytes(const void* data, size_t count) {
  at::Tensor on_device = empty({static_cast<int64_t>(count)}, at::kByte);
  send(data, on_device);
  return on_device;
}

at::Tensor GpuOps::numbers(const std::vector<int32_t>& values) {
  at::Tensor on_device = empty({static_cast<int64_t>(values.size())}, at::kInt);
  send(values.data(), on_device);
  return on_device;
}

void GpuOps::cast(const at::Tensor& from, const at::Tensor& to) {
  KENTE_CHECK(from.numel() == to.numel(),
              std::to_string(from.numel()) + " elements to " + std::to_string(to.numel()));
  if (from.numel() == 0) return;
  check_launch(cuda::cast_scale({.from_dtype = data_type(from.scalar_type()),
                                 .to_dtype = data_type(to.scalar_type()),
                                 .count = from.numel(),
                                 .from = from.const_data_ptr(),
                                 .to = to.mutable_data_ptr()},
                                queue()),
               "cast_scale");
}

void GpuOps::add(const at::Tensor& from, const at::Tensor& to) {
  check_launch(cuda::add_column_sums(from.const_data_ptr<float>(), 1, from.numel(),
                                     to.mutable_data_ptr<float>(), queue().stream),
               "add_column_sums");
}

std::unique_ptr<BatchOnDevice> GpuOps::upload(const MicroBatch& batch) {
  const int64_t rows = batch.samples * batch.length;
  const int64_t stride = round_up(rows, kPlaneMultiple);
  at::Tensor planes = empty({MicroBatch::kFields, stride}, at::kInt);
  const int64_t bytes = 4 * MicroBatch::kFields * stride;
  Staging::Place place = staging_.take(bytes);
  for (int64_t field = 0; field < MicroBatch::kFields; ++field)
    std::memcpy(place.data() + 4 * field * stride, batch.fields.data() + field * rows,
                static_cast<size_t>(4 * rows));
  staging_.upload(std::move(place), planes.mutable_data_ptr(), bytes, stream_);
  return std::make_unique<GpuBatch>(batch, std::move(planes));
}

}  // namespace kente
