#pragma once

#include <cstdint>

namespace kente {

/// Nanoseconds of the monotonic clock. Never compare values of two machines.
int64_t now_ns();
/// The same in seconds, for what is told to people and for limits of seconds.
inline double now_seconds() { return static_cast<double>(now_ns()) * 1e-9; }
/// Seconds since a now_ns().
inline double seconds_since(int64_t begin_ns) {
  return static_cast<double>(now_ns() - begin_ns) * 1e-9;
}

/// Milliseconds since 1970 in UTC, for records that people read; never for a decision.
int64_t wall_clock_ms();

/// A point of the monotonic clock by which a wait must end.
class Deadline {
 public:
  static Deadline after_seconds(double seconds);
  static Deadline never();

  bool passed() const;
  /// Seconds left, 0 when passed.
  double seconds_left() const;
  /// The seconds it was made with, for messages.
  double seconds_given() const { return given_; }

 private:
  Deadline(int64_t at_ns, double given) : at_ns_(at_ns), given_(given) {}
  int64_t at_ns_;
  double given_;
};

}  // namespace kente
