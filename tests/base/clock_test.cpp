#include "csrc/base/clock.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kente {
namespace {

TEST(Clock, NeverRunsBackwards) {
  int64_t last = now_ns();
  for (int i = 0; i < 10000; ++i) {
    const int64_t now = now_ns();
    EXPECT_GE(now, last);
    last = now;
  }
}

TEST(Clock, WallClockCountsMillisecondsSince1970) {
  constexpr int64_t kYear2024 = 1'704'067'200'000;
  constexpr int64_t kYear2200 = 7'258'118'400'000;
  EXPECT_GT(wall_clock_ms(), kYear2024);
  EXPECT_LT(wall_clock_ms(), kYear2200);
}

TEST(Deadline, InThePastHasPassedAndLeavesNothing) {
  const Deadline deadline = Deadline::after_seconds(-1);
  EXPECT_TRUE(deadline.passed());
  EXPECT_EQ(deadline.seconds_left(), 0.0);
}

TEST(Deadline, PassesOnceItsTimeIsUpAndNotBefore) {
  const int64_t began = now_ns();
  const Deadline deadline = Deadline::after_seconds(0.005);
  while (!deadline.passed()) {
  }
  EXPECT_GE(now_ns() - began, 5'000'000);
  EXPECT_EQ(deadline.seconds_left(), 0.0);
}

TEST(Deadline, TellsTheSecondsLeftAndThoseGiven) {
  const Deadline deadline = Deadline::after_seconds(1000);
  EXPECT_FALSE(deadline.passed());
  EXPECT_LE(deadline.seconds_left(), 1000);
  EXPECT_GT(deadline.seconds_left(), 900);
  EXPECT_EQ(deadline.seconds_given(), 1000);
}

TEST(Deadline, NeverDoesNotPass) {
  EXPECT_FALSE(Deadline::never().passed());
  EXPECT_TRUE(std::isinf(Deadline::never().seconds_left()));
}

TEST(Deadline, BeyondTheClocksRangeDoesNotPass) {
  // 1e12 seconds do not fit into 64-bit nanoseconds.
  EXPECT_FALSE(Deadline::after_seconds(1e12).passed());
  EXPECT_GT(Deadline::after_seconds(1e12).seconds_left(), 1e6);
  EXPECT_FALSE(Deadline::after_seconds(std::numeric_limits<double>::infinity()).passed());
}

}  // namespace
}  // namespace kente
