#include "csrc/base/clock.h"

#include <ctime>

#include <algorithm>
#include <limits>

namespace kente {
namespace {

// 31 years, and what "later than that" and "no limit at all" are kept as: nanoseconds would
// overflow.
constexpr double kLongestSeconds = 1e9;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

}  // namespace

int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

int64_t wall_clock_ms() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1'000 + t.tv_nsec / 1'000'000;
}

Deadline Deadline::after_seconds(double seconds) {
  if (seconds >= kLongestSeconds) return Deadline(kNever, seconds);
  return Deadline(now_ns() + static_cast<int64_t>(std::max(seconds, 0.0) * 1e9), seconds);
}

Deadline Deadline::never() { return Deadline(kNever, std::numeric_limits<double>::infinity()); }

bool Deadline::passed() const { return at_ns_ != kNever && now_ns() >= at_ns_; }

double Deadline::seconds_left() const {
  if (at_ns_ == kNever) return given_;
  const int64_t left = at_ns_ - now_ns();
  return left > 0 ? static_cast<double>(left) * 1e-9 : 0.0;
}

}  // namespace kente
