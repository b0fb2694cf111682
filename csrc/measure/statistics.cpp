#include "csrc/measure/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "csrc/base/errors.h"

namespace kente {

double quantile(std::vector<double> values, double q) {
  KENTE_CHECK(!values.empty(), "a quantile of nothing");
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(std::floor(at));
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - std::floor(at));
}

double trimmed_mean(std::vector<double> values, double share) {
  KENTE_CHECK(!values.empty() && share >= 0 && share < 0.5, "a mean of nothing");
  std::sort(values.begin(), values.end());
  const auto cut = static_cast<ptrdiff_t>(share * static_cast<double>(values.size()));
  const double sum = std::accumulate(values.begin() + cut, values.end() - cut, 0.0);
  return sum / static_cast<double>(static_cast<ptrdiff_t>(values.size()) - 2 * cut);
}

double relative_spread(const std::vector<double>& values) {
  const double middle = median(values);
  if (values.size() < 2 || middle == 0) return 0;
  return (quantile(values, 0.75) - quantile(values, 0.25)) / middle;
}

}  // namespace kente
