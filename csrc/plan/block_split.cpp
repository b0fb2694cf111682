#include "csrc/plan/block_split.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kente {
namespace {

constexpr double kNoBound = std::numeric_limits<double>::infinity();
/// Bounds that are tried beyond the least; further ones are thinned out.
constexpr size_t kBounds = 48;

using Tables = std::vector<std::vector<double>>;

struct Split {
  std::vector<int> blocks;
  double value = kNoBound;
};

/// By blocks placed: the next border, or the end; with too few stages to cut at every border the
/// nearest border at or after it.
std::vector<size_t> furthest_ends(size_t width, size_t stages, const std::vector<int>& borders) {
  std::vector<size_t> ends(width, width - 1);
  const size_t skip = stages <= borders.size() ? 0 : 1;
  for (size_t placed = 0; placed < width; ++placed)
    for (const int border : borders)
      if (static_cast<size_t>(border) >= placed + skip)
        ends[placed] = std::min(ends[placed], static_cast<size_t>(border));
  ends[0] = skip == 0 ? 0 : ends[0];  // no block at all is a border too
  return ends;
}

/// The split with the least sum of stages none of which is dearer than bound. No blocks when there
/// is none.
std::vector<int> least_sum(const Tables& seconds, int blocks, double bound,
                           const std::vector<int>& borders) {
  const size_t stages = seconds.size();
  const size_t width = static_cast<size_t>(blocks) + 1;
  const std::vector<size_t> furthest = furthest_ends(width, stages, borders);
  const bool only_there = stages <= borders.size();
  std::vector<double> best(width, kNoBound), next(width);
  std::vector<int> taken(stages * width, -1);
  best[0] = 0;
  for (size_t i = 0; i < stages; ++i) {
    std::fill(next.begin(), next.end(), kNoBound);
    for (size_t own = 0; own < width; ++own) {
      const double t = seconds[i][own];
      if (!(t <= bound)) continue;
      for (size_t before = 0; before + own < width; ++before) {
        const double sum = best[before] + t;
        if (sum >= next[before + own]) continue;
        if (!borders.empty() &&
            (only_there ? furthest[before + own] != before + own : before + own > furthest[before]))
          continue;
        next[before + own] = sum;
        taken[i * width + before + own] = static_cast<int>(own);
      }
    }
    best.swap(next);
  }
  if (!std::isfinite(best.back())) return {};
  std::vector<int> split(stages);
  size_t placed = width - 1;
  for (size_t i = stages; i-- > 0;) {
    split[i] = taken[i * width + placed];
    placed -= static_cast<size_t>(split[i]);
  }
  return split;
}

/// Whether stages no dearer than bound can hold all blocks, judged by the most each can.
bool may_hold(const Tables& seconds, int blocks, double bound) {
  int most = 0, least = 0;
  for (const std::vector<double>& stage : seconds) {
    int low = -1, high = -1;
    for (size_t own = 0; own < stage.size(); ++own) {
      if (!(stage[own] <= bound)) continue;
      if (low < 0) low = static_cast<int>(own);
      high = static_cast<int>(own);
    }
    if (high < 0) return false;
    most += high;
    least += low;
  }
  return least <= blocks && blocks <= most;
}

std::vector<double> bounds_of(const Tables& seconds) {
  std::vector<double> bounds;
  for (const std::vector<double>& stage : seconds)
    for (const double t : stage)
      if (std::isfinite(t)) bounds.push_back(t);
  std::sort(bounds.begin(), bounds.end());
  bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
  return bounds;
}

/// Index of the least bound under which the blocks can be held.
size_t first_bound(const Tables& seconds, int blocks, const std::vector<double>& bounds) {
  const auto found = std::partition_point(bounds.begin(), bounds.end(), [&](double bound) {
    return !may_hold(seconds, blocks, bound);
  });
  return static_cast<size_t>(found - bounds.begin());
}

}  // namespace

double least_bottleneck(const Tables& seconds, int blocks) {
  const std::vector<double> bounds = bounds_of(seconds);
  const size_t first = first_bound(seconds, blocks, bounds);
  return first < bounds.size() ? bounds[first] : kNoBound;
}

std::vector<std::vector<int>> split_blocks(const Tables& seconds, int blocks, double micro_batches,
                                           int count, const std::vector<int>& borders) {
  const std::vector<double> bounds = bounds_of(seconds);
  const size_t first = first_bound(seconds, blocks, bounds);
  std::vector<Split> found;
  const size_t step = std::max<size_t>(1, (bounds.size() - first) / kBounds);
  for (size_t b = first; b < bounds.size(); b += step) {
    const bool full = found.size() >= static_cast<size_t>(count);
    if (full && (micro_batches - 1) * bounds[b] >= found.back().value) break;
    const std::vector<int> split = least_sum(seconds, blocks, bounds[b], borders);
    if (split.empty()) continue;
    double sum = 0, dearest = 0;
    for (size_t i = 0; i < split.size(); ++i) {
      const double t = seconds[i][static_cast<size_t>(split[i])];
      sum += t;
      dearest = std::max(dearest, t);
    }
    const bool known = std::any_of(found.begin(), found.end(),
                                   [&](const Split& other) { return other.blocks == split; });
    if (known) continue;
    found.push_back({.blocks = split, .value = sum + (micro_batches - 1) * dearest});
    std::stable_sort(found.begin(), found.end(),
                     [](const Split& a, const Split& b) { return a.value < b.value; });
    if (found.size() > static_cast<size_t>(count)) found.pop_back();
  }
  std::vector<std::vector<int>> splits;
  splits.reserve(found.size());
  for (const Split& split : found) splits.push_back(split.blocks);
  return splits;
}

}  // namespace kente
