#pragma once

#include <cstddef>
#include <vector>

namespace kente::cuda {

/// How kernels ran with one setting of Tuning::row_blocks.
struct TunedTimes {
  int row_blocks = 0;
  std::vector<double> seconds;  // by kernel, the same kernels in every setting
};

/// By kernel: the best time of all settings.
std::vector<double> best_times(const std::vector<TunedTimes>& settings);

/// By setting: the geometric mean over kernels of its time over the best time of all settings; 1
/// where it is the best for every kernel.
std::vector<double> slowdowns(const std::vector<TunedTimes>& settings);

/// The setting to take: of those within kTuningNoise of the least slowdown the one with the fewest
/// blocks, whose partial sums are fewest.
inline constexpr double kTuningNoise = 0.01;
size_t best_setting(const std::vector<TunedTimes>& settings);

}  // namespace kente::cuda
