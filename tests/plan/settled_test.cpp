#include "csrc/plan/settled.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::Pair;

/// Rank 0 at work for so long, half of it in its forward passes; rank 1 is a spare.
StepMeasurement stretch(double work, std::vector<std::pair<int, double>> waited_for = {}) {
  StepMeasurement measured;
  measured.step_seconds = work + 1;
  measured.ranks.resize(2);
  measured.ranks[0].phases = {.forward = work / 2,
                              .backward_input = work / 4,
                              .backward_weight = work / 8,
                              .optimizer = work / 8,
                              .wait = 1};
  measured.ranks[0].end_wait = work / 16;
  measured.ranks[0].waited_for = std::move(waited_for);
  return measured;
}

TEST(Settled, AveragesEveryPhaseAndEveryWait) {
  const SettledMeasurement settled =
      settle({stretch(8, {{1, 1}}), stretch(16, {{1, 2}, {2, 6}}), stretch(24, {{2, 3}})});
  EXPECT_DOUBLE_EQ(settled.mean.step_seconds, 17);
  const RankMeasurement& rank = settled.mean.ranks.at(0);
  EXPECT_DOUBLE_EQ(rank.phases.forward, 8);
  EXPECT_DOUBLE_EQ(rank.phases.backward_input, 4);
  EXPECT_DOUBLE_EQ(rank.phases.backward_weight, 2);
  EXPECT_DOUBLE_EQ(rank.phases.optimizer, 2);
  EXPECT_DOUBLE_EQ(rank.phases.wait, 1);
  EXPECT_DOUBLE_EQ(rank.end_wait, 1);
  EXPECT_THAT(rank.waited_for, ElementsAre(Pair(1, 1.0), Pair(2, 3.0)));
}

TEST(Settled, TheErrorIsHalfOfTheMeansConfidenceInterval) {
  // Sample deviation 8 of three values around 16.
  EXPECT_NEAR(settle({stretch(8), stretch(16), stretch(24)}).error, 9.925 * 8 / std::sqrt(3.0) / 16,
              1e-9);
  EXPECT_EQ(settle({stretch(8), stretch(8)}).error, 0);
}

TEST(Settled, TheNoisiestRankCounts) {
  StepMeasurement first = stretch(1), second = stretch(3);
  first.ranks[1].phases.forward = second.ranks[1].phases.forward = 2;
  EXPECT_NEAR(settle({first, second}).error, 63.657 * 0.5, 1e-9);
}

TEST(Settled, RefusesWhatCannotBeLaidTogether) {
  EXPECT_THROW(settle({stretch(8)}), InternalError);
  EXPECT_NO_THROW(settle(std::vector(kMostSettled, stretch(8))));
  EXPECT_THROW(settle(std::vector(kMostSettled + 1, stretch(8))), InternalError);
  StepMeasurement less = stretch(8);
  less.ranks.pop_back();
  EXPECT_THROW(settle({stretch(8), less}), InternalError);
}

}  // namespace
}  // namespace kente
