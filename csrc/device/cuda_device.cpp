#include <cuda_runtime_api.h>

#include <array>

#include "csrc/base/errors.h"
#include "csrc/device/device.h"

namespace kente {
namespace {

/// Which GPU, for messages, and for calls that CUDA directs to the one that is current.
struct Gpu {
  int number = 0;

  void check(cudaError_t error, const char* call) const {
    if (error == cudaSuccess) return;
    throw DeviceError("GPU " + std::to_string(number) + ": " + call + ": " +
                      cudaGetErrorName(error) + ", " + cudaGetErrorString(error) +
                      "; resume the run, without this GPU if it happens again");
  }
  void make_current() const { check(cudaSetDevice(number), "cudaSetDevice"); }
};

std::string bus_id(const Gpu& gpu) {
  std::array<char, 32> bus{};
  gpu.check(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), gpu.number),
            "cudaDeviceGetPCIBusId");
  return bus.data();
}

cudaDeviceProp properties_of(const Gpu& gpu) {
  cudaDeviceProp properties{};
  gpu.check(cudaGetDeviceProperties(&properties, gpu.number), "cudaGetDeviceProperties");
  return properties;
}

// Parts of one GPU (MIG) have its address, and an id each.
std::string id_of(const Gpu& gpu, const cudaDeviceProp& properties) {
  std::string id = bus_id(gpu);
  for (const char byte : properties.uuid.bytes)
    id += "-" + std::to_string(static_cast<unsigned char>(byte));
  return id;
}

class CudaEvent : public Event {
 public:
  CudaEvent(const Gpu& gpu, unsigned flags) : gpu_(gpu) {
    gpu_.make_current();
    gpu_.check(cudaEventCreateWithFlags(&event_, flags), "cudaEventCreateWithFlags");
  }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent() override { cudaEventDestroy(event_); }

  bool passed() override {
    const cudaError_t error = cudaEventQuery(event_);
    if (error == cudaErrorNotReady) return false;
    gpu_.check(error, "cudaEventQuery");
    return true;
  }
  cudaEvent_t native() const { return event_; }

 private:
  const Gpu gpu_;
  cudaEvent_t event_ = nullptr;
};

cudaEvent_t native_of(const Event& event) {
  const auto* own = dynamic_cast<const CudaEvent*>(&event);
  KENTE_CHECK(own != nullptr, "an event of another kind of device");
  return own->native();
}

class CudaStream : public Stream {
 public:
  CudaStream(const Gpu& gpu, Urgency urgency) : gpu_(gpu) {
    gpu_.make_current();
    int usual = 0, urgent = 0;  // the smaller, the more urgent
    gpu_.check(cudaDeviceGetStreamPriorityRange(&usual, &urgent),
               "cudaDeviceGetStreamPriorityRange");
    gpu_.check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                            urgency == Urgency::kUrgent ? urgent : usual),
               "cudaStreamCreateWithPriority");
  }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() override { cudaStreamDestroy(stream_); }

  void* native() const override { return stream_; }
  void record(Event& event) override {
    gpu_.check(cudaEventRecord(native_of(event), stream_), "cudaEventRecord");
  }
  void wait_for(const Event& event) override {
    gpu_.check(cudaStreamWaitEvent(stream_, native_of(event), 0), "cudaStreamWaitEvent");
  }
  void copy(void* to, const void* from, int64_t bytes) override {
    if (bytes == 0) return;
    gpu_.check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_),
               "cudaMemcpyAsync");
  }
  void clear(void* at, int64_t bytes) override {
    if (bytes == 0) return;
    gpu_.check(cudaMemsetAsync(at, 0, static_cast<size_t>(bytes), stream_), "cudaMemsetAsync");
  }

 private:
  const Gpu gpu_;
  cudaStream_t stream_ = nullptr;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int number) : gpu_{number} { gpu_.make_current(); }

  DeviceFacts facts() override {
    gpu_.make_current();
    DeviceFacts facts;
    const cudaDeviceProp properties = properties_of(gpu_);
    facts.name = properties.name;
    facts.compute_capability = 10 * properties.major + properties.minor;
    facts.bus_id = bus_id(gpu_);
    facts.id = id_of(gpu_, properties);
    const auto [free, total] = memory();
    facts.free_bytes = free;
    facts.memory_bytes = total;
    gpu_.check(cudaDriverGetVersion(&facts.driver_version), "cudaDriverGetVersion");
    gpu_.check(cudaRuntimeGetVersion(&facts.runtime_version), "cudaRuntimeGetVersion");
    return facts;
  }

  DeviceMemory allocate(int64_t bytes) override {
    gpu_.make_current();
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // not to be told again by the next call that asks
      const auto [free, total] = memory();
      throw DeviceError("GPU " + std::to_string(gpu_.number) + ": no memory for " +
                        std::to_string(bytes) + " bytes: " + std::to_string(free) + " of " +
                        std::to_string(total) + " are free; plan with less memory");
    }
    gpu_.check(error, "cudaMalloc");
    return {static_cast<std::byte*>(data), bytes, [](std::byte* at) { cudaFree(at); }};
  }

  DeviceMemory allocate_pinned(int64_t bytes) override {
    gpu_.make_current();
    void* data = nullptr;
    gpu_.check(cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault),
               "cudaHostAlloc");
    return {static_cast<std::byte*>(data), bytes, [](std::byte* at) { cudaFreeHost(at); }};
  }

  std::unique_ptr<Stream> make_stream(Urgency urgency) override {
    return std::make_unique<CudaStream>(gpu_, urgency);
  }
  std::unique_ptr<Event> make_event() override {
    return std::make_unique<CudaEvent>(gpu_, cudaEventDisableTiming);
  }
  std::unique_ptr<Event> make_timed_event() override {
    return std::make_unique<CudaEvent>(gpu_, cudaEventDefault);
  }
  double seconds_between(const Event& from, const Event& to) override {
    float milliseconds = 0;
    gpu_.check(cudaEventElapsedTime(&milliseconds, native_of(from), native_of(to)),
               "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  struct Memory {
    int64_t free = 0, total = 0;
  };
  Memory memory() const {
    size_t free = 0, total = 0;
    gpu_.check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return {.free = static_cast<int64_t>(free), .total = static_cast<int64_t>(total)};
  }

  const Gpu gpu_;
};

}  // namespace

int count_gpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  cudaGetLastError();
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) return 0;
  throw DeviceError(std::string("cudaGetDeviceCount: ") + cudaGetErrorName(error) + ", " +
                    cudaGetErrorString(error) + "; see nvidia-smi");
}

std::string gpu_id(int number) {
  const Gpu gpu{number};
  return id_of(gpu, properties_of(gpu));
}

std::unique_ptr<Device> make_gpu_device(int number) {
  const int count = count_gpus();
  if (number < 0 || number >= count)
    throw UsageError("GPU " + std::to_string(number) + ": this node has " + std::to_string(count));
  return std::make_unique<CudaDevice>(number);
}

}  // namespace kente
