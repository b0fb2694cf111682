#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"
#include "csrc/base/errors.h"
#include "csrc/train/gradient_scales.h"
#include "tests/train/exact_run.h"
#include "tests/train/steps_on_threads.h"

namespace kente {
namespace {

constexpr int64_t kSteps = 300;

/// A pipeline of two stages and a replica of one rank, each stage in a type of its own.
Plan three_ranks(DType first, DType second, DType alone) {
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {5, 3});
  plan.replicas[0].stages[0].compute = first;
  plan.replicas[0].stages[1].compute = second;
  plan.replicas[1].stages[0].compute = alone;
  return plan;
}

class MixedTypes : public ExactRun {
 protected:
  MixedTypes() {
    Recipe& recipe = options_.train.recipe;
    recipe.numerics = {.compute = DType::kF32,
                       .boundary = DType::kF32,
                       .reduction = Reduction::kFast,
                       .substitutes = {DType::kBF16, DType::kF16}};
    recipe.steps = kSteps;
    recipe.global_batch_tokens = 8 * recipe.sequence_length;
  }

  std::vector<float> losses(const Plan& plan) {
    std::vector<float> losses;
    for (const StepReport& step : train(plan, 3).steps) losses.push_back(step.loss);
    return losses;
  }
};

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF16 = DType::kF16;

TEST_F(MixedTypes, LossStaysWithinHalfAPercentOfAllF32OverThreeHundredSteps) {
  const std::vector<float> all_f32 = losses(three_ranks(kF32, kF32, kF32));
  const std::vector<float> mixed = losses(three_ranks(kF32, kF16, kBF16));
  ASSERT_EQ(all_f32.size(), static_cast<size_t>(kSteps));
  ASSERT_EQ(mixed.size(), all_f32.size());
  EXPECT_LT(all_f32.back(), 0.7f * all_f32.front()) << "the model learns";
  EXPECT_NE(mixed, all_f32) << "f16 and bf16 round";
  double worst = 0;
  for (size_t step = 0; step < mixed.size(); ++step) {
    const double off = std::abs(double{mixed[step]} / all_f32[step] - 1);
    worst = std::max(worst, off);
    EXPECT_LE(off, 0.005) << "step " << step + 1;
  }
  RecordProperty("worst_percent", std::to_string(100 * worst));
}

/// Steps of three ranks, gradient scales set before the first; what rank 0 reports.
class ScaledSteps : public MixedTypes {
 protected:
  std::vector<StepReport> run(const Plan& plan, const std::string& scales, int64_t steps) {
    const Recipe& recipe = options_.train.recipe;
    return run_steps(
        {.recipe = recipe,
         .plan = plan,
         .ranks = 3,
         .steps = steps,
         .prepare =
             [&](Parameters& parameters, Step& step) {
               parameters.init(recipe.seed);
               step.gradient_scales().resume(scales);
             },
         .batch = [&](int64_t step,
                      const MeshMicroBatch& at) { return made_up_batch(recipe, step, at); },
         .after = [this](const Step& step) { scales_ = step.gradient_scales().state(); }});
  }

  std::string scales_;  // after the last step
};

TEST_F(ScaledSteps, AnOverflowHalvesThatStagesScaleAndRunsTheStepAgainWithTheSameData) {
  const Plan plan = three_ranks(kF32, kF16, kF16);
  const std::vector<StepReport> clean = run(plan, "", 3);
  // One more than f16 holds: a gradient of -1 at the logits is 2^24 / 2^7 with 128 tokens.
  const std::string large = R"({"replica 0 layers 3-5": [24, 0], "replica 1 layers 0-5": [16, 5]})";
  const std::vector<StepReport> overflowing = run(plan, large, 3);
  ASSERT_EQ(overflowing.size(), 3u);
  const int64_t repeats = overflowing[0].repeats;
  EXPECT_GE(repeats, 2) << "2^17 and 2^16 are beyond 65,504";
  EXPECT_LT(repeats, 6);
  EXPECT_EQ(scales_, R"({"replica 0 layers 3-5":[)" + std::to_string(24 - repeats) +
                         R"(,3],"replica 1 layers 0-5":[16,8]})");
  for (size_t s = 0; s < 3; ++s) {
    EXPECT_EQ(clean[s].repeats, 0);
    EXPECT_TRUE(clean[s].applied && overflowing[s].applied);
    EXPECT_EQ(overflowing[s].tokens, clean[s].tokens);
    EXPECT_NEAR(overflowing[s].loss, clean[s].loss, 1e-4 * clean[s].loss);
    EXPECT_NEAR(overflowing[s].grad_norm, clean[s].grad_norm, 2e-3 * clean[s].grad_norm);
  }
}

TEST_F(ScaledSteps, ScalesKeepSmallGradientsThatF16WouldLose) {
  // Weights so small that gradients vanish on their way to the first layer.
  options_.train.recipe.model.initializer_range = 1e-4;
  const double want = run(three_ranks(kF32, kF32, kF32), "", 1)[0].grad_norm;
  const auto off = [&](const Plan& plan, const std::string& scales) {
    return std::abs(run(plan, scales, 1)[0].grad_norm / want - 1);
  };
  const Plan last = three_ranks(kF32, kF16, kF32), first = three_ranks(kF16, kF32, kF32);
  EXPECT_LT(off(last, ""), 1e-3);
  EXPECT_GT(off(last, R"({"replica 0 layers 3-5": [0, 0]})"), 10 * off(last, ""));
  EXPECT_LT(off(first, ""), 1e-3);
}

TEST_F(ScaledSteps, WhatNoOtherRankHoldsIsUnscaledToo) {
  Plan plan = plan_from_borders({{0, 6}}, {8});
  const double want = run(plan, "", 1)[0].grad_norm;
  plan.replicas[0].stages[0].compute = kF16;
  EXPECT_NEAR(run(plan, "", 1)[0].grad_norm, want, 1e-3 * want);
}

TEST_F(ScaledSteps, ALossThatIsNotFiniteIsNoOverflow) {
  const Plan plan = three_ranks(kF32, kF16, kF16);
  options_.train.recipe.model.initializer_range = 1e5;  // beyond what f16 holds
  const std::vector<StepReport> poisoned = run(plan, "", 1);
  EXPECT_FALSE(poisoned[0].applied);
  EXPECT_EQ(poisoned[0].repeats, 0) << "a smaller scale would not help";
}

TEST(GradientScales, DoubleAfterCleanStepsAndEndAtOne) {
  const Plan plan = three_ranks(kF16, kBF16, kF32);
  GradientScales scales(plan);
  EXPECT_TRUE(scales.any());
  EXPECT_EQ(scales.of(0), 65536);
  EXPECT_EQ(scales.of(1), 1);
  EXPECT_EQ(scales.of(2), 1);
  for (int64_t step = 1; step < GradientScales::kCleanSteps; ++step) scales.applied();
  EXPECT_EQ(scales.of(0), 65536);
  scales.applied();
  EXPECT_EQ(scales.of(0), 131072);
  EXPECT_FALSE(scales.halve({0, 1, 1})) << "those do not compute in f16";
  for (int halved = 0; halved < 17; ++halved) EXPECT_TRUE(scales.halve({1, 0, 0}));
  EXPECT_EQ(scales.of(0), 1);
  EXPECT_FALSE(scales.halve({1, 0, 0})) << "there is none below";
  GradientScales none(three_ranks(kF32, kBF16, kF32));
  EXPECT_FALSE(none.any());
}

TEST(GradientScales, GoOnWhereACheckpointLeftThem) {
  const Plan plan = three_ranks(kF16, kF32, kF16);
  GradientScales before(plan), after(plan);
  before.halve({1, 0, 0});
  before.applied();
  after.resume(before.state());
  EXPECT_EQ(after.state(), before.state());
  EXPECT_EQ(after.of(0), 32768);
  const Plan other = three_ranks(kF32, kF16, kF16);
  GradientScales elsewhere(other);
  elsewhere.resume(before.state());
  EXPECT_EQ(elsewhere.of(1), 65536) << "that stage is new";
  for (const char* wrong : {"{", "[]", R"({"a": [1]})", R"({"a": [25, 0]})", R"({"a": [-1, 0]})",
                            R"({"a": [1, -1]})", R"({"a": ["1", 0]})"})
    EXPECT_THROW(after.resume(wrong), FormatError) << wrong;
}

}  // namespace
}  // namespace kente
