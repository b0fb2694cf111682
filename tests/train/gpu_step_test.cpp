// Steps of ranks with pretended GPUs, whose gradients and activations travel through the host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_gpus.h"

namespace kente {
namespace {

Recipe gpu_recipe(ModelFamily family, Reduction reduction) {
  Recipe recipe = small_recipe(family);
  recipe.model.num_hidden_layers = 2;
  recipe.model.num_attention_heads = 2;  // of 16, as RoPE's kernel wants it
  recipe.model.num_key_value_heads = family == ModelFamily::kGpt2 ? 2 : 1;
  recipe.sequence_length = 8;
  recipe.global_batch_tokens = 4 * 8;
  recipe.steps = 1;
  recipe.numerics.reduction = reduction;
  return recipe;
}

double largest_difference(const Trained& a, const Trained& b) {
  double largest = 0;
  for (const auto& [group, weights] : a.weights)
    for (size_t i = 0; i < weights.size(); ++i)
      largest = std::max(largest, std::abs(double{weights[i]} - b.weights.at(group)[i]));
  return largest;
}

class GpuSteps : public testing::TestWithParam<uint64_t> {};

TEST_P(GpuSteps, TwoByTwoRanksTrainAsOnTheCpu) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama}) {
    Recipe recipe = gpu_recipe(family, Reduction::kFast);
    recipe.steps = 3;
    const Trained want = train_steps(recipe, two_by_two(), {false, false, false, false});
    pretend::PretendNode node(4, GetParam());
    for (const TransportChoice transport : {TransportChoice::kAuto, TransportChoice::kHost}) {
      const Trained got =
          train_steps(recipe, two_by_two(), {true, true, true, true}, {}, transport);
      expect_near(got, want, 1e-5);
      // AdamW divides by what may be as small as rounding: a step is at most lr.
      EXPECT_LT(largest_difference(got, want), 0.1 * recipe.optimizer.learning_rate);
    }
    EXPECT_LT(want.steps.back().loss, want.steps.front().loss);
  }
}

TEST_P(GpuSteps, ExactStepsHaveTheSameBitsOnAnyPlan) {
  Recipe recipe = gpu_recipe(ModelFamily::kLlama, Reduction::kExact);
  recipe.steps = 2;
  Trained alone, together, through_host;
  {
    pretend::PretendNode node(1, GetParam());
    alone = train_steps(recipe, plan_from_borders({{0, 4}}, {4}), {true});
  }
  {
    pretend::PretendNode node(4, GetParam() + 100);
    together = train_steps(recipe, two_by_two(), {true, true, true, true});
  }
  {
    pretend::PretendNode node(4, GetParam() + 200);
    through_host =
        train_steps(recipe, two_by_two(), {true, true, true, true}, {}, TransportChoice::kHost);
  }
  EXPECT_EQ(through_host.weights, together.weights);
  ASSERT_EQ(alone.steps.size(), together.steps.size());
  for (size_t s = 0; s < alone.steps.size(); ++s) {
    EXPECT_EQ(alone.steps[s].loss, together.steps[s].loss) << s;
    EXPECT_EQ(alone.steps[s].grad_norm, together.steps[s].grad_norm) << s;
  }
  EXPECT_EQ(alone.weights, together.weights);
}

TEST_P(GpuSteps, AZeroBubblePipelineHasTheSameBitsToo) {
  Recipe recipe = gpu_recipe(ModelFamily::kLlama, Reduction::kExact);
  recipe.steps = 2;
  Plan plan = plan_from_borders({{0, 1, 2, 3, 4}}, {4});
  Trained want, got;
  {
    pretend::PretendNode node(4, GetParam());
    want = train_steps(recipe, plan, {true, true, true, true});
  }
  plan.schedule = ScheduleKind::kZeroBubble;
  plan.replicas[0].under_way = 7;
  for (const TransportChoice transport : {TransportChoice::kAuto, TransportChoice::kHost}) {
    pretend::PretendNode node(4, GetParam() + 100);
    got = train_steps(recipe, plan, {true, true, true, true}, {}, transport);
    EXPECT_EQ(got.weights, want.weights);
    EXPECT_EQ(got.steps.back().loss, want.steps.back().loss);
  }
}

TEST_P(GpuSteps, GpusAndCpusShareAPipelineInTypesOfTheirOwn) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  const Trained want = train_steps(recipe, two_by_two(), {false, false, false, false});
  recipe.numerics.substitutes = {DType::kBF16, DType::kF16};
  Plan plan = two_by_two();
  plan.replicas[0].stages[0].compute = DType::kBF16;
  plan.replicas[1].stages[1].compute = DType::kF16;
  pretend::PretendNode node(4, GetParam());
  const Trained got = train_steps(recipe, plan, {true, false, false, true});
  expect_near(got, want, 5e-3);
}

TEST_P(GpuSteps, ShardsOfTheOptimizerAreGathered) {
  const Recipe recipe = gpu_recipe(ModelFamily::kLlama, Reduction::kExact);
  Plan plan = plan_from_borders({{0, 4}, {0, 4}}, {3, 1});
  Trained whole, sharded;
  {
    pretend::PretendNode node(2, GetParam());
    whole = train_steps(recipe, plan, {true, true});
  }
  plan.shard_optimizer = true;
  {
    pretend::PretendNode node(2, GetParam() + 100);
    sharded = train_steps(recipe, plan, {true, true});
  }
  EXPECT_EQ(whole.weights, sharded.weights);
}

TEST_P(GpuSteps, AnOverflowInF16IsRepeatedWithASmallerScale) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  const Plan in_f32 = plan_from_borders({{0, 2, 4}}, {4});
  const Trained want = train_steps(recipe, in_f32, {false, false});
  recipe.numerics.substitutes = {DType::kF16};
  Plan plan = in_f32;
  plan.replicas[0].stages[0].compute = plan.replicas[0].stages[1].compute = DType::kF16;
  pretend::PretendNode node(2, GetParam());
  const Trained got = train_steps(recipe, plan, {true, true}, [](Step& step) {
    step.gradient_scales().resume(
        R"({"replica 0 layers 0-1": [20, 0], "replica 0 layers 2-3": [20, 0]})");
  });
  EXPECT_GT(got.steps.front().repeats, 0);
  expect_near(got, want, 5e-3);
}

TEST_P(GpuSteps, AFailedGpuEndsAllRanks) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  recipe.steps = 3;
  pretend::PretendNode node(4, GetParam());
  node.gpu(2).fail_at(400 + static_cast<int64_t>(GetParam()), cudaErrorECCUncorrectable);
  EXPECT_THROW(train_steps(recipe, two_by_two(), {true, true, true, true}), DeviceError);
  EXPECT_THAT(node.gpu(2).complaint(), testing::HasSubstr("cudaErrorECCUncorrectable"));
}

INSTANTIATE_TEST_SUITE_P(Seeds, GpuSteps, testing::Values(1));

}  // namespace
}  // namespace kente
