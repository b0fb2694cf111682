#include "csrc/data/ledger.h"

#include <gtest/gtest.h>

namespace kente {
namespace {

using Range = Ledger::Range;
using Finding = Ledger::Finding;

/// Steps of ten samples each, step s at the data of step data[s - 1].
std::vector<StepSamples> steps(const std::vector<int64_t>& data) {
  std::vector<StepSamples> all;
  for (size_t i = 0; i < data.size(); ++i)
    all.push_back({.step = static_cast<int64_t>(i) + 1,
                   .first = (data[i] - 1) * 10,
                   .last = data[i] * 10 - 1});
  return all;
}

TEST(MakeLedger, OfAnUndisturbedRunIsOneRange) {
  const Ledger ledger = make_ledger(steps({1, 2, 3, 4}));
  EXPECT_EQ(ledger.ranges, (std::vector<Range>{{1, 4, 0, 39}}));
  EXPECT_TRUE(ledger.left_out.empty());
  EXPECT_TRUE(ledger.used_twice.empty());
  EXPECT_TRUE(ledger.missing_steps.empty());
  EXPECT_EQ(ledger.steps, 4);
  EXPECT_EQ(ledger.samples, 40);
}

TEST(MakeLedger, AStepThatWasDoneAgainCountsOnce) {
  std::vector<StepSamples> again = steps({1, 2, 3});
  again.push_back({.step = 2, .first = 10, .last = 19});
  again.push_back({.step = 3, .first = 20, .last = 29});
  const Ledger ledger = make_ledger(again);
  EXPECT_EQ(ledger.ranges, (std::vector<Range>{{1, 3, 0, 29}}));
  EXPECT_TRUE(ledger.used_twice.empty());
  EXPECT_EQ(ledger.samples, 30);
}

TEST(MakeLedger, LeftOutSamplesAreNamedWithTheStepsBesideThem) {
  const Ledger ledger = make_ledger(steps({1, 2, 5, 6}));
  EXPECT_EQ(ledger.left_out, (std::vector<Finding>{{20, 39, 2, 3}}));
  EXPECT_EQ(ledger.ranges, (std::vector<Range>{{1, 2, 0, 19}, {3, 4, 40, 59}}));
  EXPECT_EQ(ledger.samples, 40);
  EXPECT_EQ(make_ledger(steps({2, 3})).left_out, (std::vector<Finding>{{0, 9, 0, 1}}));
}

TEST(MakeLedger, SamplesOfTwoStepsAreNamedWithBoth) {
  const Ledger ledger = make_ledger(steps({1, 2, 2, 3}));
  EXPECT_EQ(ledger.used_twice, (std::vector<Finding>{{10, 19, 2, 3}}));
  EXPECT_EQ(ledger.samples, 30);
  // One that covers part of another, and one within another.
  const Ledger overlap = make_ledger({{.step = 1, .first = 0, .last = 14},
                                      {.step = 2, .first = 10, .last = 19},
                                      {.step = 3, .first = 12, .last = 13}});
  EXPECT_EQ(overlap.used_twice, (std::vector<Finding>{{10, 14, 1, 2}, {12, 13, 2, 3}}));
  EXPECT_EQ(overlap.samples, 20);
  const Ledger border =
      make_ledger({{.step = 1, .first = 0, .last = 9}, {.step = 2, .first = 9, .last = 18}});
  EXPECT_EQ(border.used_twice, (std::vector<Finding>{{9, 9, 1, 2}}));
}

TEST(MakeLedger, StepsOfWhichNothingIsKnownAndThoseThatChangedNothing) {
  std::vector<StepSamples> some = steps({1, 2, 3, 4, 5, 6});
  some[5].applied = false;
  some.erase(some.begin() + 2, some.begin() + 4);
  const Ledger ledger = make_ledger(some);
  ASSERT_EQ(ledger.missing_steps.size(), 1u);
  EXPECT_EQ(ledger.missing_steps[0].first_step, 3);
  EXPECT_EQ(ledger.missing_steps[0].last_step, 4);
  EXPECT_EQ(ledger.not_applied, (std::vector<int64_t>{6}));
  EXPECT_EQ(ledger.steps, 4);
}

TEST(MakeLedger, OfNothingIsNothing) { EXPECT_TRUE(make_ledger({}).ranges.empty()); }

}  // namespace
}  // namespace kente
