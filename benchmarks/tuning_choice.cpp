#include "benchmarks/tuning_choice.h"

#include <algorithm>
#include <cmath>

namespace kente::cuda {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<double> slowdowns(const std::vector<TunedTimes>& settings) {
  const size_t kernels = settings.front().seconds.size();
  std::vector<double> result(settings.size(), 0);
  for (size_t k = 0; k < kernels; ++k) {
    double best = settings.front().seconds[k];
    for (const TunedTimes& setting : settings) best = std::min(best, setting.seconds.at(k));
    for (size_t s = 0; s < settings.size(); ++s)
      result[s] += std::log(settings[s].seconds[k] / best) / static_cast<double>(kernels);
  }
  for (double& logarithm : result) logarithm = std::exp(logarithm);
  return result;
}

size_t best_setting(const std::vector<TunedTimes>& settings) {
  const std::vector<double> slower = slowdowns(settings);
  const double least = *std::min_element(slower.begin(), slower.end());
  size_t best = settings.size();
  for (size_t s = 0; s < settings.size(); ++s)
    if (slower[s] <= least * (1 + kTuningNoise) &&
        (best == settings.size() || settings[s].row_blocks < settings[best].row_blocks))
      best = s;
  return best;
}

}  // namespace kente::cuda
