// kernel_speed: times every kernel of cuda/ on the GPU that is there, with the bytes that must move
// beside each time, as a table: G2 of the GPU's figures. Each is compared with a copy on the device
// of as many bytes, timed in turns with it; buffers are larger than any cache.

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "benchmarks/gpu_timing.h"
#include "csrc/measure/statistics.h"

namespace kente::cuda {
namespace {

constexpr int kPairs = 9;  // of a kernel and a copy

void print_case(const KernelCase& c, const Queue& queue) {
  DeviceMemory memory;
  const auto launch = c.prepare(memory, queue);
  const int64_t half = c.must / 2;  // a copy loads as much as it stores
  const DeviceBytes from = allocate(half), to = allocate(half);
  const auto copy = [&] {
    return cudaMemcpyAsync(to.get(), from.get(), static_cast<size_t>(half),
                           cudaMemcpyDeviceToDevice, queue.stream);
  };
  seconds_of(launch, queue.stream);
  seconds_of(copy, queue.stream);
  std::vector<double> seconds, ratios;
  for (int pair = 0; pair < kPairs; ++pair) {
    seconds.push_back(seconds_of(launch, queue.stream));
    ratios.push_back(seconds_of(copy, queue.stream) / seconds.back());
  }
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  fmt::print("| {} | {} | {:.0f} | {:.1f} | {:.0f} | {:.0f} % ({:.0f} to {:.0f}) |\n", c.op,
             c.model, static_cast<double>(c.must) / 1e6, 1e6 * median(seconds),
             static_cast<double>(c.must) / median(seconds) / 1e9, 100 * median(ratios),
             100 * *least, 100 * *most);
}

void print_table() {
  const Device device = open_device();
  const Queue queue{.stream = device.stream.get(), .tuning = tuning_of(device.generation)};
  fmt::print("{}, compute capability {}.{}; median of {} pairs, {} launches each\n\n", device.name,
             device.generation / 10, device.generation % 10, kPairs, kLaunchesTimed);
  fmt::print("| kernel | bytes that must move | MB | µs | GB/s | of a copy |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (const KernelCase& c : kernel_cases(kGpuSizes))
    if (runs_on(c, device.generation)) print_case(c, queue);
}

}  // namespace
}  // namespace kente::cuda

int main() {
  try {
    kente::cuda::print_table();
    return 0;
  } catch (const std::exception& failure) {
    fmt::print(stderr, "kernel_speed: {}\n", failure.what());
    return 3;
  }
}
