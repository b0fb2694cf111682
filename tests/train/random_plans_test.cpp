#include <algorithm>

#include "csrc/config/parse.h"
#include "tests/support/random_plans.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

constexpr uint64_t kPlans = 50;

bool any_stage(const Plan& plan, bool (*has)(const StagePlan&)) {
  return std::ranges::any_of(plan.replicas, [&](const ReplicaPlan& replica) {
    return std::ranges::any_of(replica.stages, has);
  });
}

class RandomPlans : public ExactRun {
 protected:
  RandomPlans() {
    Recipe& recipe = options_.train.recipe;
    recipe.steps = 3;
    recipe.lr.warmup_steps = 1;
    recipe.model.num_hidden_layers = 3;
    recipe.global_batch_tokens = 6 * recipe.sequence_length;
  }
};

TEST_F(RandomPlans, FiftyOfThemGiveTheBitsOfOneRank) {
  const ThreadedRun one = train(plan_from_borders({{0, 5}}, {6}), 1);
  ASSERT_EQ(one.steps.size(), 3u);
  for (uint64_t seed = 1; seed <= kPlans; ++seed) {
    const RandomPlan random = random_plan(options_.train.recipe, seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + std::to_string(random.ranks) + " ranks\n" +
                 to_text(random.plan));
    expect_same(train(random.plan, random.ranks), one);
  }
}

TEST_F(RandomPlans, AreValidAndOfEveryKind) {
  int replicas = 0, pipelines = 0, interleaved = 0, spares = 0, recomputing = 0, sharded = 0;
  for (uint64_t seed = 1; seed <= kPlans; ++seed) {
    const RandomPlan random = random_plan(options_.train.recipe, seed);
    const Plan& plan = random.plan;
    EXPECT_EQ(parse_plan(to_text(plan), "plan", options_.train.recipe), plan);
    int busy = 0, longest = 0;
    for (const ReplicaPlan& replica : plan.replicas) {
      busy += static_cast<int>(replica.stages.size());
      longest = std::max(longest, static_cast<int>(replica.stages.size()));
    }
    replicas += plan.replicas.size() > 1;
    pipelines += longest > 1;
    spares += busy < random.ranks;
    interleaved += any_stage(plan, [](const StagePlan& s) { return s.layers.size() > 1; });
    recomputing += any_stage(plan, [](const StagePlan& s) { return s.recompute != Recompute(); });
    sharded += plan.shard_optimizer && plan.replicas.size() > 1;
  }
  for (const int count : {replicas, pipelines, interleaved, spares, recomputing, sharded})
    EXPECT_GE(count, 5);
}

}  // namespace
}  // namespace kente
