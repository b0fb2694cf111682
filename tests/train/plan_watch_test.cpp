#include "csrc/train/plan_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/local.h"
#include "csrc/plan/cost_model.h"
#include "tests/support/made_up_cluster.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::ElementsAre;

TEST(PlanWatch, LooksAtStretchesTogetherWhenThereAreEnough) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  const ClusterProfile cluster = made_up_cluster(recipe, {.speeds = {1}});
  const Plan plan = plan_from_borders({{0, 6}}, {16});
  const CostModel model(recipe, cluster);
  const double seconds = predict(model, plan).step_seconds;
  const auto world = make_single();
  PlanWatch watch(recipe, plan, cluster, *world, 10);
  ActionClock clock(cpu_ops(), 0);
  std::vector<int> settled;
  int stretches = 0;
  for (int step = 1; step <= 2 + 480; ++step) {
    const auto watched = watch.step(seconds, clock);
    if (!watched) continue;
    EXPECT_EQ((step - 2) % 10, 0) << step;
    ++stretches;
    if (watched->settled) settled.push_back(stretches);
  }
  EXPECT_EQ(stretches, 48);
  EXPECT_THAT(settled, ElementsAre(4, 8, 16, 32, 48));
}

}  // namespace
}  // namespace kente
