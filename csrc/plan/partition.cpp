#include "csrc/plan/partition.h"

#include <algorithm>
#include <limits>
#include <string>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();
/// Sums of the same costs in another order may differ by rounding; that is no difference.
constexpr double kSlack = 1 + 1e-12;

/// best[p][l]: the least cost of cutting the first l layers into p parts; from[p][l]: where part p
/// starts.
struct Table {
  std::vector<std::vector<double>> best;
  std::vector<std::vector<int>> from;
};

/// join(cost of the parts before, cost of this part) is the cost to make as small as possible.
template <typename Join>
Table fill(const std::vector<double>& costs, int parts, Join join) {
  const size_t layers = costs.size();
  std::vector<double> prefix(layers + 1, 0);
  for (size_t l = 0; l < layers; ++l) prefix[l + 1] = prefix[l] + costs[l];
  Table table;
  table.best.assign(static_cast<size_t>(parts) + 1, std::vector<double>(layers + 1, kImpossible));
  table.from.assign(static_cast<size_t>(parts) + 1, std::vector<int>(layers + 1, 0));
  table.best[0][0] = 0;
  for (size_t p = 1; p <= static_cast<size_t>(parts); ++p) {
    for (size_t end = p; end <= layers; ++end) {
      for (size_t start = p - 1; start < end; ++start) {
        const double cost = join(table.best[p - 1][start], prefix[end] - prefix[start]);
        if (cost <= table.best[p][end]) {
          table.best[p][end] = cost;
          table.from[p][end] = static_cast<int>(start);
        }
      }
    }
  }
  return table;
}

}  // namespace

std::vector<int> split_evenly(const std::vector<double>& costs, int parts) {
  KENTE_CHECK(parts >= 1 && static_cast<size_t>(parts) <= costs.size(),
              std::to_string(parts) + " parts of " + std::to_string(costs.size()) + " layers");
  const Table dearest =
      fill(costs, parts, [](double before, double part) { return std::max(before, part); });
  const double limit = dearest.best.back().back() * kSlack;
  const Table squares = fill(costs, parts, [limit](double before, double part) {
    return part <= limit ? before + part * part : kImpossible;
  });
  std::vector<int> borders(static_cast<size_t>(parts) + 1, static_cast<int>(costs.size()));
  for (size_t p = static_cast<size_t>(parts); p > 0; --p)
    borders[p - 1] = squares.from[p][static_cast<size_t>(borders[p])];
  return borders;
}

}  // namespace kente
