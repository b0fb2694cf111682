// kernel_tuner: tries how many blocks of threads suit the GPU that is there, over all kernels of
// cuda/ whose blocks take several rows, and prints the line of cuda/tuning.cpp for its generation.
// Bits of sums depend on that number: what is in the table is changed on purpose, never at run
// time.

#include <fmt/format.h>

#include <exception>
#include <vector>

#include "benchmarks/gpu_timing.h"
#include "benchmarks/tuning_choice.h"
#include "csrc/measure/statistics.h"

namespace kente::cuda {
namespace {

constexpr int kRounds = 9;  // settings take turns in each, so that a drifting clock spares none

/// Blocks of 512 threads for each multiprocessor, in halves.
constexpr int kHalfBlocks[] = {1, 2, 3, 4, 6, 8, 12, 16};

struct Measured {
  std::vector<std::string> kernels;
  std::vector<TunedTimes> settings;
};

std::vector<TunedTimes> settings_for(const Device& device) {
  std::vector<TunedTimes> settings;
  for (const int halves : kHalfBlocks)
    settings.push_back({.row_blocks = device.multiprocessors * halves / 2, .seconds = {}});
  return settings;
}

Measured measure(const Device& device) {
  Measured measured{.kernels = {}, .settings = settings_for(device)};
  for (const KernelCase& c : kernel_cases(kGpuSizes)) {
    if (!runs_on(c, device.generation)) continue;
    std::vector<std::vector<double>> rounds(measured.settings.size());
    for (int round = 0; round <= kRounds; ++round)
      for (size_t s = 0; s < rounds.size(); ++s) {
        Queue queue{.stream = device.stream.get(), .tuning = tuning_of(device.generation)};
        queue.tuning.row_blocks = measured.settings[s].row_blocks;
        DeviceMemory memory;
        const double seconds = seconds_of(c.prepare(memory, queue), queue.stream);
        if (round > 0) rounds[s].push_back(seconds);  // the first warms up
      }
    measured.kernels.push_back(c.op);
    for (size_t s = 0; s < rounds.size(); ++s)
      measured.settings[s].seconds.push_back(median(rounds[s]));
    fmt::print(stderr, "{}\n", c.op);
  }
  return measured;
}

void print_table(const Device& device, const Measured& measured) {
  const std::vector<double> best = best_times(measured.settings);
  const std::vector<double> slower = slowdowns(measured.settings);
  fmt::print(
      "{}, compute capability {}.{}, {} multiprocessors; times over the best setting's, "
      "median of {} rounds\n\n| kernel |",
      device.name, device.generation / 10, device.generation % 10, device.multiprocessors, kRounds);
  for (const TunedTimes& setting : measured.settings) fmt::print(" {} |", setting.row_blocks);
  fmt::print("\n|---|");
  for (size_t s = 0; s < measured.settings.size(); ++s) fmt::print("---|");
  for (size_t k = 0; k < measured.kernels.size(); ++k) {
    fmt::print("\n| {} |", measured.kernels[k]);
    for (const TunedTimes& setting : measured.settings)
      fmt::print(" {:.2f} |", setting.seconds[k] / best[k]);
  }
  fmt::print("\n| all, geometric mean |");
  for (const double slowdown : slower) fmt::print(" {:.3f} |", slowdown);
  const Tuning& now = tuning_of(device.generation);
  fmt::print(
      "\n\nfor cuda/tuning.cpp, which has {} blocks for this generation now:\n"
      "    {{{}, {{.row_blocks = {}, .shared_bytes = {} << 10}}}},\n",
      now.row_blocks, device.generation,
      measured.settings[best_setting(measured.settings)].row_blocks, now.shared_bytes >> 10);
}

}  // namespace
}  // namespace kente::cuda

int main() {
  try {
    const kente::cuda::Device device = kente::cuda::open_device();
    print_table(device, kente::cuda::measure(device));
    return 0;
  } catch (const std::exception& failure) {
    fmt::print(stderr, "kernel_tuner: {}\n", failure.what());
    return 3;
  }
}
