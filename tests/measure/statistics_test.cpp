#include "csrc/measure/statistics.h"

#include <gtest/gtest.h>

namespace kente {
namespace {

TEST(TrimmedMean, IsTheMeanOfWhatLiesBetween) {
  EXPECT_DOUBLE_EQ(trimmed_mean({5}, 0.1), 5);
  EXPECT_DOUBLE_EQ(trimmed_mean({1, 2, 6}, 0.1), 3) << "too few to leave one out";
  EXPECT_DOUBLE_EQ(trimmed_mean({100, 3, 4, 5, 3, 4, 5, 3, 5, -80}, 0.1), 4);
  EXPECT_DOUBLE_EQ(trimmed_mean({9, 1, 5, 3}, 0.25), 4);
}

// Five stops fall into most rounds, four into some: what is lost on average lies between.
TEST(TrimmedMean, IsNotDrawnToTheMostFrequentValue) {
  const std::vector<double> slowdowns = {4.8, 4.8, 4.8, 4.8, 4.8, 4.8, 2.8, 2.8, 2.8, 2.8};
  EXPECT_DOUBLE_EQ(median(slowdowns), 4.8);
  EXPECT_NEAR(trimmed_mean(slowdowns, 0.1), 4.0, 0.06);
}

TEST(Quantile, LiesBetweenNeighboursByAStraightLine) {
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({4, 1, 3, 2}, 1), 4);
  EXPECT_DOUBLE_EQ(relative_spread({1}), 0);
  EXPECT_DOUBLE_EQ(relative_spread({1, 2, 3, 4, 5}), 2.0 / 3);
}

}  // namespace
}  // namespace kente
