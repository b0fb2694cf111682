// kernel_speed: times every kernel of cuda/ on the GPU that is there, with the bytes that must move
// beside each time, as a table: G2 of the GPU's figures. Each is compared with a copy on the device
// of as many bytes, timed in turns with it; buffers are larger than any cache.

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks/kernel_cases.h"
#include "csrc/base/unique_handle.h"

namespace kente::cuda {
namespace {

constexpr KernelSizes kSizes{.rows = 16384, .loss_rows = 4096, .parameters = int64_t{1} << 27};
constexpr int kPairs = 9;     // of a kernel and a copy
constexpr int kLaunches = 5;  // between two events

void check(cudaError_t error, const std::string& what) {
  if (error != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(error));
}

struct Freed {
  void operator()(void* data) const { cudaFree(data); }
};
using DeviceBytes = std::unique_ptr<void, Freed>;

DeviceBytes allocate(int64_t bytes) {
  void* data = nullptr;
  check(cudaMalloc(&data, static_cast<size_t>(bytes)), fmt::format("{} bytes", bytes));
  check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "cudaMemset");
  return DeviceBytes(data);
}

class DeviceMemory : public KernelMemory {
 protected:
  void* zeros(int64_t bytes, Counted) override {
    buffers_.push_back(allocate(bytes));
    return buffers_.back().get();
  }
  void write(void* to, const void* from, int64_t bytes) override {
    check(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice), "cudaMemcpy");
  }

 private:
  std::vector<DeviceBytes> buffers_;
};

struct Destroyed {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  static constexpr std::nullptr_t none() { return nullptr; }
};
using Event = UniqueHandle<cudaEvent_t, Destroyed>;
using Stream = UniqueHandle<cudaStream_t, Destroyed>;

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return Event(event);
}

/// Seconds of one launch.
double time(const std::function<cudaError_t()>& launch, cudaStream_t stream) {
  const Event begin = make_event(), end = make_event();
  check(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
  for (int i = 0; i < kLaunches; ++i) check(launch(), "launch");
  check(cudaEventRecord(end.get(), stream), "cudaEventRecord");
  check(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime");
  return 1e-3 * static_cast<double>(milliseconds) / kLaunches;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + kPairs / 2, values.end());
  return values[kPairs / 2];
}

void print_case(const KernelCase& c, const Queue& queue) {
  DeviceMemory memory;
  const auto launch = c.prepare(memory, queue);
  const int64_t half = c.must / 2;  // a copy loads as much as it stores
  const DeviceBytes from = allocate(half), to = allocate(half);
  const auto copy = [&] {
    return cudaMemcpyAsync(to.get(), from.get(), static_cast<size_t>(half),
                           cudaMemcpyDeviceToDevice, queue.stream);
  };
  time(launch, queue.stream);
  time(copy, queue.stream);
  std::vector<double> seconds, ratios;
  for (int pair = 0; pair < kPairs; ++pair) {
    seconds.push_back(time(launch, queue.stream));
    ratios.push_back(time(copy, queue.stream) / seconds.back());
  }
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  fmt::print("| {} | {} | {:.0f} | {:.1f} | {:.0f} | {:.0f} % ({:.0f} to {:.0f}) |\n", c.op,
             c.model, static_cast<double>(c.must) / 1e6, 1e6 * median(seconds),
             static_cast<double>(c.must) / median(seconds) / 1e9, 100 * median(ratios),
             100 * *least, 100 * *most);
}

int print_table() {
  int device = 0;
  check(cudaGetDevice(&device), "no GPU can be used");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  const int generation = 10 * properties.major + properties.minor;
  cudaStream_t made = nullptr;
  check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  const Stream stream(made);
  const Queue queue{.stream = stream.get(), .tuning = tuning_of(generation)};
  fmt::print("{}, compute capability {}.{}; median of {} pairs, {} launches each\n\n",
             properties.name, properties.major, properties.minor, kPairs, kLaunches);
  fmt::print("| kernel | bytes that must move | MB | µs | GB/s | of a copy |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (const KernelCase& c : kernel_cases(kSizes))
    if (c.generation == 0 ||
        tuning_of(c.generation).shared_bytes == tuning_of(generation).shared_bytes)
      print_case(c, queue);
  return 0;
}

}  // namespace
}  // namespace kente::cuda

int main() {
  try {
    return kente::cuda::print_table();
  } catch (const std::exception& failure) {
    fmt::print(stderr, "kernel_speed: {}\n", failure.what());
    return 3;
  }
}
