#include "benchmarks/tuning_choice.h"

#include <algorithm>
#include <cmath>

namespace kente::cuda {

std::vector<double> best_times(const std::vector<TunedTimes>& settings) {
  std::vector<double> best = settings.front().seconds;
  for (const TunedTimes& setting : settings)
    for (size_t k = 0; k < best.size(); ++k) best[k] = std::min(best[k], setting.seconds.at(k));
  return best;
}

std::vector<double> slowdowns(const std::vector<TunedTimes>& settings) {
  const std::vector<double> best = best_times(settings);
  std::vector<double> result;
  for (const TunedTimes& setting : settings) {
    double logarithms = 0;
    for (size_t k = 0; k < best.size(); ++k) logarithms += std::log(setting.seconds[k] / best[k]);
    result.push_back(std::exp(logarithms / static_cast<double>(best.size())));
  }
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
