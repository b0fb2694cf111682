#include "benchmarks/tuning_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/measure/statistics.h"

namespace kente::cuda {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(TuningChoice, SlowdownIsTheGeometricMeanOverKernels) {
  // The second kernel likes few blocks, the first many; the third does not care.
  const std::vector<TunedTimes> settings = {{100, {4, 1, 5}}, {200, {2, 2, 5}}, {400, {1, 8, 5}}};
  EXPECT_THAT(slowdowns(settings),
              ElementsAre(DoubleNear(1.5874, 1e-4), DoubleNear(1.5874, 1e-4), DoubleNear(2, 1e-9)));
}

TEST(TuningChoice, OfEquallyGoodSettingsTheFewestBlocksWin) {
  EXPECT_EQ(best_setting({{400, {1.0}}, {100, {1.009}}, {200, {1.0}}}), 1u) << "within 1 %";
  EXPECT_EQ(best_setting({{400, {1.0}}, {100, {1.02}}, {200, {1.005}}}), 2u);
  EXPECT_EQ(best_setting({{100, {3.0}}, {200, {2.0}}, {400, {1.0}}}), 2u);
}

TEST(TuningChoice, MedianOfAnOddNumberIsTheMiddleOne) { EXPECT_EQ(median({5, 1, 9}), 5); }

}  // namespace
}  // namespace kente::cuda
