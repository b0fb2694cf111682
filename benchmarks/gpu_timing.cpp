#include "benchmarks/gpu_timing.h"

#include <stdexcept>

namespace kente::cuda {
namespace {

struct DestroyedEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  static constexpr std::nullptr_t none() { return nullptr; }
};
using Event = UniqueHandle<cudaEvent_t, DestroyedEvent>;

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return Event(event);
}

}  // namespace

void check(cudaError_t error, const std::string& what) {
  if (error != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

DeviceBytes allocate(int64_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, static_cast<size_t>(bytes)), std::to_string(bytes) + " bytes");
  DeviceBytes owned(data);
  check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "cudaMemset");
  return owned;
}

void* DeviceMemory::zeros(int64_t bytes, Counted) {
  buffers_.push_back(allocate(bytes));
  return buffers_.back().get();
}

void DeviceMemory::write(void* to, const void* from, int64_t bytes) {
  check(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice), "cudaMemcpy");
}

Device open_device() {
  int device = 0;
  check(cudaGetDevice(&device), "no GPU can be used");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return {.name = properties.name,
          .generation = 10 * properties.major + properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .stream = Stream(stream)};
}

double seconds_of(const std::function<cudaError_t()>& launch, cudaStream_t stream) {
  const Event begin = make_event(), end = make_event();
  check(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
  for (int i = 0; i < kLaunchesTimed; ++i) check(launch(), "launch");
  check(cudaEventRecord(end.get(), stream), "cudaEventRecord");
  check(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
  return 1e-3 * static_cast<double>(milliseconds) / kLaunchesTimed;
}

bool runs_on(const KernelCase& kernel, int generation) {
  return kernel.generation == 0 ||
         tuning_of(kernel.generation).shared_bytes == tuning_of(generation).shared_bytes;
}

}  // namespace kente::cuda
