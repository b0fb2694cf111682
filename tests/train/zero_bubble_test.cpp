#include <gtest/gtest.h>

#include <algorithm>

#include "csrc/plan/schedule.h"
#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_threads.h"

namespace kente {
namespace {

constexpr int kGrains = 16;

Recipe sixteen_grains() {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.global_batch_tokens = kGrains * recipe.grain_samples * recipe.sequence_length;
  return recipe;
}

std::vector<StepReport> steps_of(const Recipe& recipe, const Plan& plan, int ranks) {
  return run_steps(
      {.recipe = recipe,
       .plan = plan,
       .ranks = ranks,
       .steps = 2,
       .prepare = [](Parameters& parameters, Step&) { parameters.init(1); },
       .batch = [&](int64_t step,
                    const MeshMicroBatch& at) { return made_up_batch(recipe, step, at); }});
}

// Laid out as if messages took long, the first stage sends all it has before it takes the first
// answer, and the second answers all of it before the first listens.
TEST(ZeroBubbleSteps, NeverWaitForASendHoweverManyNobodyHasTaken) {
  const Recipe recipe = sixteen_grains();
  Plan plan = plan_from_borders({{0, 3, 6}}, {kGrains});
  const std::vector<StepReport> want = steps_of(recipe, plan, 2);
  plan.schedule = ScheduleKind::kZeroBubble;
  plan.replicas[0].under_way = kGrains;
  for (StagePlan& stage : plan.replicas[0].stages)
    stage.times = {.forward = 1, .backward_input = 1, .backward_weight = 1, .message = 1000};
  const ActionList first = make_schedule(make_mesh(recipe, plan, 2), plan.schedule).front();
  const auto answer = std::find_if(first.begin(), first.end(), [](const Action& action) {
    return action.kind == ActionKind::kRecvGradient;
  });
  EXPECT_EQ(answer - first.begin(), 2 * kGrains);
  const std::vector<StepReport> got = steps_of(recipe, plan, 2);
  ASSERT_EQ(got.size(), want.size());
  for (size_t step = 0; step < want.size(); ++step) {
    EXPECT_EQ(got[step].loss, want[step].loss);
    EXPECT_EQ(got[step].grad_norm, want[step].grad_norm);
  }
}

}  // namespace
}  // namespace kente
