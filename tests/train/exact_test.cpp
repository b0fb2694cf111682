#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/ckpt/whole_checkpoint.h"
#include "csrc/report/run_record.h"
#include "tests/support/token_files.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

class Exact : public ExactRun {
 protected:
  Exact() { options_.train.recipe.validation = {.every_steps = 10, .samples_per_source = 20}; }
};

/// The stages' times are far from those they have: the order of passes must not matter.
Plan zero_bubble_plan() {
  Plan plan = plan_from_borders({{0, 2, 3, 4, 6}}, {16});
  plan.schedule = ScheduleKind::kZeroBubble;
  plan.replicas[0].under_way = 7;
  for (size_t i = 0; i < 4; ++i)
    plan.replicas[0].stages[i].times = {.forward = 10 + static_cast<int64_t>(i),
                                        .backward_input = 30,
                                        .backward_weight = 20,
                                        .message = 15};
  return plan;
}

// Layers: 0 embedding, 1-4 blocks, 5 head.
const std::vector<std::pair<const char*, Plan>>& plans() {
  static const std::vector<std::pair<const char*, Plan>> all = {
      {"2 stages", plan_from_borders({{0, 3, 6}}, {16})},
      {"4 stages", plan_from_borders({{0, 1, 3, 5, 6}}, {16})},
      {"2 replicas", plan_from_borders({{0, 6}, {0, 6}}, {8, 8})},
      {"replicas of 2 and 1 stages, 3:1", plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4})},
      {"4 stages, zero-bubble", zero_bubble_plan()},
  };
  return all;
}

TEST_F(Exact, EveryPlanGivesTheSameBitsWhileClippingActsAndTheLossFalls) {
  const ThreadedRun one = train(plan_from_borders({{0, 6}}, {16}), 1);
  ASSERT_EQ(one.steps.size(), 30u);
  EXPECT_LT(one.steps.back().loss, one.steps.front().loss - 1.0f);
  int clipped = 0;
  for (const StepReport& step : one.steps) clipped += step.grad_norm > 0.5 ? 1 : 0;
  EXPECT_GE(clipped, 5);
  for (const auto& [name, plan] : plans()) {
    SCOPED_TRACE(name);
    int ranks = 0;
    for (const ReplicaPlan& replica : plan.replicas)
      ranks += static_cast<int>(replica.stages.size());
    expect_same(train(plan, ranks), one);
  }
}

TEST_F(Exact, EveryFamilyUntiedHeadsDocumentBordersAndRecomputeKeepTheBits) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2})
    for (const bool variant : {false, true}) {
      Recipe recipe = small_recipe(family);
      recipe.steps = 6;
      recipe.data = options_.train.recipe.data;
      recipe.model.tie_word_embeddings = !variant;
      recipe.data.stop_at_documents = variant;
      if (variant) recipe.numerics.compute = recipe.numerics.boundary = DType::kBF16;
      options_.train.recipe = recipe;
      Plan one = plan_from_borders({{0, 6}}, {16});
      Plan other = plan_from_borders({{0, 2, 6}, {0, 6}}, {11, 5});
      other.schedule = ScheduleKind::kGPipe;
      other.replicas[0].stages[1].recompute = Recompute::kFull;
      for (Plan* plan : {&one, &other})
        for (ReplicaPlan& replica : plan->replicas)
          for (StagePlan& stage : replica.stages) stage.compute = recipe.numerics.compute;
      SCOPED_TRACE(static_cast<int>(family) * 10 + variant);
      expect_same(train(other, 3), train(one, 1));
    }
}

TEST_F(Exact, ARankWithTheFirstAndTheLastLayersKeepsTheMicroBatchItReadAndTheBits) {
  options_.train.recipe.steps = 6;
  Plan plan = plan_from_borders({{0, 2, 4}}, {16});
  plan.schedule = ScheduleKind::kGPipe;
  plan.replicas[0].stages[0].layers.push_back({.first = 4, .last = 5});
  const ThreadedRun one = train(plan_from_borders({{0, 6}}, {16}), 1);
  expect_same(train(plan, 2), one);
}

TEST_F(Exact, FourRanksThatDieAtStep17AndResumeOnTwoGiveTheUndisturbedBits) {
  const ThreadedRun undisturbed = train(plan_from_borders({{0, 6}}, {16}), 1);
  options_.train.plan = plan_from_borders({{0, 2, 3, 5, 6}}, {16});
  options_.train.checkpoint_every = 5;
  options_.run_directories = {fresh_directory()};
  std::map<int64_t, float> losses;
  options_.on_step = [&](int rank, const StepReport& report) {
    if (rank == 0) losses[report.step] = report.loss;
    if (report.step == 17 && rank == 2) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 4), DeviceError);

  options_.on_step = nullptr;
  options_.train.start = StartMode::kResume;
  options_.train.plan = plan_from_borders({{0, 4, 6}}, {16});
  const ThreadedRun resumed = train_on_threads(options_, 2);
  EXPECT_EQ(resumed.result.resumed_from, 15);
  EXPECT_EQ(resumed.result.parameters_sha256, undisturbed.result.parameters_sha256);
  for (const StepReport& step : resumed.steps) losses[step.step] = step.loss;
  for (const StepReport& step : undisturbed.steps) EXPECT_EQ(losses[step.step], step.loss);
}

TEST_F(Exact, WhatSeveralNodesHoldIsPutTogetherAndTrainingGoesOnFromIt) {
  const ThreadedRun reference = train(plan_from_borders({{0, 6}}, {16}), 1);
  options_.run_directories = {fresh_directory(), fresh_directory(), fresh_directory()};
  options_.train.checkpoint_every = 20;
  options_.train.plan = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
  options_.train.plan.shard_optimizer = true;
  options_.on_step = [](int, const StepReport& report) {
    if (report.step == 25) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  options_.on_step = nullptr;
  const auto files = posix_file_system();
  std::vector<std::string> parts;
  for (const std::string& run : options_.run_directories) parts.push_back(run + "/ckpt");
  WholeCheckpoint from(*files, parts, std::nullopt);
  EXPECT_EQ(from.step(), 20);
  const std::string whole = fresh_directory();
  reshard(from, *files, whole + "/ckpt", 2);
  options_.run_directories = {whole};
  options_.train.start = StartMode::kResume;
  options_.train.plan = plan_from_borders({{0, 3, 6}}, {16});
  const ThreadedRun run = train_on_threads(options_, 2);
  EXPECT_EQ(run.result.resumed_from, 20);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(Exact, RanksThatShareNoDirectoryResumeOnAnotherPlan) {
  const ThreadedRun undisturbed = train(plan_from_borders({{0, 6}}, {16}), 1);
  options_.train.plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {10, 6});
  options_.train.checkpoint_every = 7;
  options_.run_directories = {fresh_directory(), fresh_directory(), fresh_directory()};
  options_.on_step = [&](int rank, const StepReport& report) {
    if (report.step == 16 && rank == 1) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  options_.on_step = nullptr;
  options_.train.start = StartMode::kResume;
  options_.train.plan = plan_from_borders({{0, 2, 4, 6}}, {16});
  const ThreadedRun resumed = train_on_threads(options_, 3);
  EXPECT_EQ(resumed.result.resumed_from, 14);
  EXPECT_EQ(resumed.result.parameters_sha256, undisturbed.result.parameters_sha256);
}

/// Each of three nodes in turn dies before its part of step 14 appears, the others' parts may.
TEST_F(Exact, KilledBetweenTheRenamesOfTwoNodesTheOlderCheckpointLoads) {
  const ThreadedRun undisturbed = train(plan_from_borders({{0, 6}}, {16}), 1);
  options_.train.checkpoint_every = 7;
  for (int killed = 0; killed < 3; ++killed) {
    options_.train.plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {10, 6});
    options_.train.start = StartMode::kFresh;
    options_.run_directories = {fresh_directory(), fresh_directory(), fresh_directory()};
    options_.on_file = [&](int rank, std::string_view operation, const std::string& path) {
      if (rank == killed && operation == "rename" && path.find(step_directory(14)) != path.npos)
        throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, 3), PeerError) << killed;
    options_.on_file = nullptr;
    options_.train.start = StartMode::kResume;
    options_.train.plan = plan_from_borders({{0, 2, 4, 6}}, {16});
    const ThreadedRun resumed = train_on_threads(options_, 3);
    EXPECT_EQ(resumed.result.resumed_from, 7) << killed;
    EXPECT_EQ(resumed.result.parameters_sha256, undisturbed.result.parameters_sha256) << killed;
  }
}

TEST_F(Exact, ARunWhoseRecipeNamedNoDigestIsNotResumedOnOtherText) {
  Recipe& recipe = options_.train.recipe;
  recipe.data.sources[0].digest.clear();
  recipe.steps = 2;
  recipe.validation = {};
  recipe.lr.warmup_steps = 1;
  train(plan_from_borders({{0, 6}}, {16}), 1);
  options_.train.start = StartMode::kResume;
  EXPECT_NO_THROW(train_on_threads(options_, 1));
  const TemporaryDirectory other;
  write_source(other.path(), "test", learnable_documents(3, 200, 40, recipe.model.vocab_size),
               learnable_documents(4, 12, 40, recipe.model.vocab_size), recipe.model.vocab_size);
  options_.train.data_directory = other.path();
  EXPECT_THROW(train_on_threads(options_, 1), UsageError);
}

TEST_F(Exact, FastRepeatsItsBitsOnTheSamePlanAndAcrossAResume) {
  options_.train.recipe.numerics.reduction = Reduction::kFast;
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {12, 4});
  plan.replicas[0].grains_per_micro_batch = 3;
  const ThreadedRun first = train(plan, 3);
  expect_same(train(plan, 3), first);

  options_.train.checkpoint_every = 10;
  options_.run_directories = {fresh_directory()};
  options_.on_step = [](int rank, const StepReport& report) {
    if (report.step == 12 && rank == 0) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  options_.on_step = nullptr;
  options_.train.start = StartMode::kResume;
  const ThreadedRun resumed = train_on_threads(options_, 3);
  EXPECT_EQ(resumed.result.resumed_from, 10);
  EXPECT_EQ(resumed.result.parameters_sha256, first.result.parameters_sha256);
}

TEST_F(Exact, ValidationOfWeightsThatComputeNothingFiniteGivesNoNumber) {
  Recipe& recipe = options_.train.recipe;
  recipe.steps = 1;
  recipe.validation.every_steps = 1;
  recipe.lr = {.kind = LrSchedule::kConstant};
  recipe.optimizer.learning_rate = 1e38;
  const ThreadedRun run = train(plan_from_borders({{0, 3, 6}, {0, 6}}, {12, 4}), 3);
  EXPECT_TRUE(std::isfinite(run.steps.at(0).loss));
  const RunRecord record = read_run(*posix_file_system(), options_.run_directories.at(0));
  ASSERT_EQ(record.validations.size(), 1u);
  EXPECT_TRUE(std::isnan(record.validations[0].loss)) << record.validations[0].loss;
  EXPECT_TRUE(std::isnan(record.validations[0].bits_per_byte));
}

}  // namespace
}  // namespace kente
