#include "csrc/measure/link_fit.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/measure/statistics.h"

namespace kente {
namespace {

// Faster than any memory: what a fit through noise is cut to.
constexpr double kMostBytesPerSecond = 1e13;
constexpr double kUndisturbed = 0.25;
// A link whose largest message is further off the line than that is no line: small messages pass in
// a burst, or in buffers.
constexpr double kBent = 0.25;

/// Through what a share q of each size's samples are faster than.
LinkFit fit_through(const std::vector<LinkSample>& samples, double q) {
  std::map<int64_t, std::vector<double>> by_size;
  for (const LinkSample& sample : samples) by_size[sample.bytes].push_back(sample.seconds);
  KENTE_CHECK(by_size.size() >= 2, std::to_string(by_size.size()) + " message sizes, want 2");
  // Weights 1 / t^2: a relative error counts alike for 64 bytes and for a megabyte.
  double sw = 0, sx = 0, st = 0, sxx = 0, sxt = 0;
  for (const auto& [bytes, seconds] : by_size) {
    const double t = std::max(quantile(seconds, q), 1e-9);
    const double x = static_cast<double>(bytes);
    const double w = 1 / (t * t);
    sw += w;
    sx += w * x;
    st += w * t;
    sxx += w * x * x;
    sxt += w * x * t;
  }
  const double spread = sw * sxx - sx * sx;
  double slope = spread > 0 ? (sw * sxt - sx * st) / spread : 0;
  double latency = (st - slope * sx) / sw;
  if (latency < 0) {  // the best line through the origin
    latency = 0;
    slope = sxx > 0 ? sxt / sxx : 0;
  }
  // Large messages are what a step waits for: the line then goes through the largest.
  const auto most = static_cast<double>(by_size.rbegin()->first);
  const double longest = std::max(quantile(by_size.rbegin()->second, q), 1e-9);
  if (longest > (1 + kBent) * (latency + slope * most)) slope = (longest - latency) / most;
  const double rate = slope > 0 ? 1 / slope : kMostBytesPerSecond;
  return {.latency_seconds = latency, .bytes_per_second = std::min(rate, kMostBytesPerSecond)};
}

}  // namespace

LinkFit fit_link(const std::vector<LinkSample>& samples) {
  const LinkFit middle = fit_through(samples, 0.5);
  // Bytes that cost nothing: other programs hid them. The fastest of each size tells more then.
  return middle.bytes_per_second < kMostBytesPerSecond ? middle : fit_through(samples, 0);
}

LinkFit fit_busy_link(const std::vector<LinkSample>& samples, const LinkFit& idle) {
  const LinkFit free = fit_through(samples, kUndisturbed);
  if (free.bytes_per_second <= idle.bytes_per_second) return free;
  std::vector<double> latencies;
  latencies.reserve(samples.size());
  for (const LinkSample& sample : samples)
    latencies.push_back(sample.seconds - static_cast<double>(sample.bytes) / idle.bytes_per_second);
  return {.latency_seconds = std::max(quantile(latencies, kUndisturbed), 0.0),
          .bytes_per_second = idle.bytes_per_second};
}

std::vector<std::vector<std::pair<int, int>>> tournament(int count) {
  const int seats = count + count % 2;  // one stands out where the count is odd
  std::vector<std::vector<std::pair<int, int>>> rounds;
  for (int round = 0; round + 1 < seats; ++round) {
    auto& pairs = rounds.emplace_back();
    for (int i = 0; i < seats / 2; ++i) {
      // Seat 0 stays, the others move on by one a round.
      const auto player = [&](int seat) {
        return seat == 0 ? 0 : 1 + (seat - 1 + round) % (seats - 1);
      };
      const std::pair<int, int> pair = std::minmax(player(i), player(seats - 1 - i));
      if (pair.second < count) pairs.emplace_back(pair.first, pair.second);
    }
  }
  return rounds;
}

double ring_step_rate(double seconds, int ranks, int64_t bytes, double latency_seconds) {
  const double step = seconds / (2.0 * (ranks - 1));
  const double part = static_cast<double>(bytes) / ranks;
  // A step cannot be all latency: what the small messages measured may be more than a ring's.
  return part / std::max(step - latency_seconds, 0.1 * step);
}

}  // namespace kente
