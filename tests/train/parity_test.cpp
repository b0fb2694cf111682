// Parity (C2): 50 steps of what PyTorch computed from the same weights and tokens, through the
// whole step.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/golden/golden_run.h"
#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_threads.h"

namespace kente {
namespace {

Recipe recipe_of(const GoldenRun& golden, Reduction reduction) {
  Recipe recipe;
  recipe.name = "golden";
  recipe.model = golden.model;
  recipe.optimizer = golden.optimizer;
  recipe.lr.kind = LrSchedule::kConstant;
  recipe.numerics.reduction = reduction;
  recipe.steps = golden.steps;
  recipe.sequence_length = golden.length;
  recipe.global_batch_tokens = golden.samples * golden.length;
  return recipe;
}

void set_weights(const GoldenRun& golden, Parameters& parameters) {
  for (const int group : parameters.groups()) {
    for (const ParamSpec& spec : parameters.layout(group).params) {
      const std::vector<float>& weights = golden.weights.at(spec.name);
      std::copy(weights.begin(), weights.end(),
                parameters.master(group).data_ptr<float>() + spec.offset);
    }
    parameters.refresh(group);
  }
}

/// Loss and gradient norm of every step, trained by a plan with one thread a rank.
std::vector<StepReport> train_golden(const GoldenRun& golden, const Recipe& recipe,
                                     const Plan& plan, int ranks) {
  at::set_num_threads(1);
  return run_steps(
      {.recipe = recipe,
       .plan = plan,
       .ranks = ranks,
       .steps = golden.steps,
       .prepare = [&](Parameters& parameters, Step&) { set_weights(golden, parameters); },
       .batch =
           [&](int64_t step, const MeshMicroBatch& at) {
             return golden.batch(step - 1, at.first_grain, at.grains);
           }});
}

class Parity : public testing::TestWithParam<ModelFamily> {};

TEST_P(Parity, LossStaysWithin1e5AtStep1And1e3AtStep50OfPyTorchOnUnlikePipelines) {
  const GoldenRun golden = read_golden_run(GetParam());
  ASSERT_EQ(golden.steps, 50);
  for (const Reduction reduction : {Reduction::kExact, Reduction::kFast}) {
    const Recipe recipe = recipe_of(golden, reduction);
    const auto reports =
        train_golden(golden, recipe, plan_from_borders({{0, 3, 6}, {0, 6}}, {11, 5}), 3);
    const auto relative = [&](size_t i) {
      return std::abs(static_cast<double>(reports[i].loss) / golden.losses[i] - 1);
    };
    EXPECT_LE(relative(0), 1e-5);
    EXPECT_LE(relative(49), 1e-3);
    EXPECT_NEAR(reports[0].grad_norm / golden.grad_norms[0], 1, 1e-5);
    RecordProperty("relative_difference_at_step_50", std::to_string(relative(49)));
    std::printf("relative loss difference: %.2e at step 1, %.2e at step 50\n", relative(0),
                relative(49));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Parity,
                         testing::Values(ModelFamily::kGpt2, ModelFamily::kLlama,
                                         ModelFamily::kQwen2));

}  // namespace
}  // namespace kente
