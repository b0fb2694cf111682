#include <gtest/gtest.h>

#include "csrc/plan/planner.h"
#include "tests/support/brute_force_plans.h"
#include "tests/support/random_clusters.h"

namespace kente {
namespace {

constexpr int kCases = 500;
constexpr int kParts = 10;

/// A tenth of the cases each, so that ctest runs them side by side.
class PlannerAgainstAllPlans : public testing::TestWithParam<int> {};

TEST_P(PlannerAgainstAllPlans, IsWithinAPercentOfTheBestInEveryRandomCase) {
  const PlanOptions options{.sharding = Sharding::kNever, .runners_up = 0};
  for (int seed = GetParam(); seed < kCases; seed += kParts) {
    const PlanningCase made = random_small_case(static_cast<uint64_t>(seed));
    const CostModel model(made.recipe, made.cluster);
    const BruteForce truth = brute_force(model, options.memory_use);
    const PlanResult result = make_plan(model, options);
    ASSERT_EQ(result.finalists.empty(), !truth.best) << "case " << seed;
    if (!truth.best) continue;
    EXPECT_LE(result.finalists.front().value, 1.01 * truth.seconds)
        << "case " << seed << ", " << truth.plans << " plans";
    // Brute force misses nothing either, or the two search different plans.
    EXPECT_GE(result.finalists.front().value, truth.seconds * (1 - 1e-9)) << "case " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Tenths, PlannerAgainstAllPlans, testing::Range(0, kParts));

}  // namespace
}  // namespace kente
