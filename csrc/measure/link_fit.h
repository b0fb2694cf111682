#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace kente {

/// A message that took so long, one way.
struct LinkSample {
  int64_t bytes = 0;
  double seconds = 0;
};

/// n bytes take latency_seconds + n / bytes_per_second.
struct LinkFit {
  double latency_seconds = 0;
  double bytes_per_second = 0;
};

/// Least squares of relative errors through the medians of each size: an outlier of one size moves
/// nothing. Needs two sizes; latency is never below 0, bandwidth always finite and above 0.
LinkFit fit_link(const std::vector<LinkSample>& samples);

/// As fit_link while both ends compute. Through lower quartiles: what a rank loses to stops and
/// neighbours is in its layer times already. Never faster than idle: where the wait for the next
/// poll hides the bytes, bandwidth is idle's and latency what remains.
LinkFit fit_busy_link(const std::vector<LinkSample>& samples, const LinkFit& idle);

/// Rounds in which each of count players meets every other once and nobody is in two pairs of a
/// round: the circle method. Pairs are (lower, higher).
std::vector<std::vector<std::pair<int, int>>> tournament(int count);

/// The rate of one ring step from a whole all_reduce over ranks, as CostModel::reduce_seconds puts
/// it together: seconds = 2 (ranks - 1) (latency + bytes / ranks / rate).
double ring_step_rate(double seconds, int ranks, int64_t bytes, double latency_seconds);

}  // namespace kente
