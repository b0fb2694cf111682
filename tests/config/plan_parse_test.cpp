#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// 6 layers, 16 grains, EXACT, F32.
Recipe plan_recipe() { return small_recipe(ModelFamily::kGpt2); }

const std::string kTwoReplicas = R"(version: 1
replica {
  share: 12
  stage { ranks: 0 layers { first: 0 last: 2 } }
  stage { ranks: 1 layers { first: 3 last: 5 } }
}
replica {
  share: 4
  stage { ranks: 2 layers { first: 0 last: 5 } }
}
)";

void expect_plan_refused(const WrongText& wrong) {
  expect_refused(wrong, kTwoReplicas, "p",
                 [](const std::string& text) { parse_plan(text, "p", plan_recipe()); });
}

TEST(PlanParse, FillsDefaults) {
  const Plan plan = parse_plan(kTwoReplicas, "p", plan_recipe());
  EXPECT_EQ(plan, plan_from_borders({{0, 3, 6}, {0, 6}}, {12, 4}));
}

TEST(PlanParse, OneReplicaTakesAllGrains) {
  const Plan plan = parse_plan(
      "version: 1 replica { stage { ranks: 0 layers { first: 0 last: 5 } } }", "p", plan_recipe());
  EXPECT_EQ(plan.replicas.at(0).share, 16);
}

TEST(PlanParse, TextOfAPlanParsesToTheSamePlan) {
  Recipe fast = plan_recipe();
  fast.numerics = {.compute = DType::kBF16,
                   .boundary = DType::kBF16,
                   .reduction = Reduction::kFast,
                   .substitutes = {DType::kF32}};
  Plan plan = plan_from_borders({{0, 1, 4, 6}, {0, 6}}, {9, 7});
  plan.schedule = ScheduleKind::kGPipe;
  for (ReplicaPlan& replica : plan.replicas)
    for (StagePlan& stage : replica.stages) stage.compute = DType::kBF16;
  plan.replicas[0].grains_per_micro_batch = 4;
  // Interleaved: rank 0 takes layer 4 from rank 2; and a stage that holds nothing.
  plan.replicas[0].stages[0].layers.push_back({.first = 4, .last = 4});
  plan.replicas[0].stages[2].layers = {{.first = 5, .last = 5}};
  plan.replicas[1].stages.push_back({.ranks = {9}, .layers = {}, .compute = DType::kBF16});
  plan.replicas[1].stages[0].recompute = Recompute::kFull;
  plan.replicas[1].stages[0].compute = DType::kF32;
  plan.shard_optimizer = true;
  plan.replicas[0].stages[1].optimizer_weight = 3;
  plan.replicas[1].stages[0].optimizer_weight = kMaxOptimizerWeight;
  plan.prediction = Prediction{
      .step_seconds = 0.1, .bubble = 0.25, .peak_bytes = {1, 2, 3, 4}, .bottleneck = "rank 2"};
  EXPECT_EQ(parse_plan(to_text(plan), "p", fast), plan) << to_text(plan);
}

TEST(PlanParse, TimesAndWhatIsUnderWayAreAZeroBubblePlansAlone) {
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {9, 7});
  plan.schedule = ScheduleKind::kZeroBubble;
  plan.replicas[0].under_way = 3;
  plan.replicas[0].stages[1].times = {
      .forward = 1, .backward_input = 22, .backward_weight = 333, .message = 0};
  EXPECT_EQ(parse_plan(to_text(plan), "p", plan_recipe()), plan) << to_text(plan);
  const std::string times = "ranks: 2 times { forward: 1 backward_input: 1 backward_weight: 1 }";
  expect_plan_refused({"ranks: 2", times, ":9:20",
                       "is for a zero-bubble schedule; write schedule: ZERO_BUBBLE, or take it "
                       "away"});
  expect_plan_refused({"share: 4", "share: 4 under_way: 2", ":8:12",
                       "replica[1].under_way is for a zero-bubble schedule"});
  const std::string zero = "schedule: ZERO_BUBBLE " + kTwoReplicas;
  const auto error = [&](const std::string& stage) {
    return error_of([&] { parse_plan(with(zero, "ranks: 2", stage), "p", plan_recipe()); });
  };
  EXPECT_EQ(error(times), "no error");
  EXPECT_THAT(error("ranks: 2 times { forward: 1 backward_input: 1 }"),
              HasSubstr("backward_weight"));
  EXPECT_THAT(error(with(times, "forward: 1", "forward: 0")),
              HasSubstr("times.forward is 0; allowed: 1 to 1000000000"));
  EXPECT_THAT(error(with(times, "forward: 1", "forward: 1 message: -1")),
              HasSubstr("times.message is -1; allowed: 0 to 1000000000"));
}

TEST(PlanParse, ATypeThatTheRecipeDoesNotAllowIsRefusedWithThoseThatItDoes) {
  Recipe recipe = plan_recipe();
  recipe.numerics.compute = recipe.numerics.boundary = DType::kBF16;
  const std::string text =
      "version: 1 replica { stage { ranks: 0 compute: F32 "
      "layers { first: 0 last: 5 } } }";
  EXPECT_THAT(error_of([&] { parse_plan(text, "p", recipe); }),
              HasSubstr("compute is F32; the recipe allows BF16"));
  recipe.numerics.reduction = Reduction::kFast;
  recipe.numerics.substitutes = {DType::kF32};
  EXPECT_EQ(parse_plan(text, "p", recipe).replicas[0].stages[0].compute, DType::kF32);
}

TEST(PlanParse, EveryLayerStandsOnceInAReplica) {
  expect_plan_refused({"first: 3 last: 5", "first: 4 last: 5", ":2:1", "layer 3 is on no stage"});
  expect_plan_refused({"first: 3 last: 5", "first: 3 last: 4", ":2:1", "layer 5 is on no stage"});
  expect_plan_refused(
      {"first: 3 last: 5", "first: 2 last: 5", ":5:20", "layer 2 is on replica[0].stage[0] too"});
  expect_plan_refused(
      {"first: 3 last: 5", "first: 3 last: 6", ":5:38", "last is 6; allowed: 3 to 5"});
  expect_plan_refused({"first: 3 last: 5", "first: -1 last: 5", ":5:29", "first is -1"});
  expect_plan_refused({"first: 3 last: 5", "first: 5 last: 3", ":5:38", "last is 3"});
  expect_plan_refused({"first: 3 last: 5", "first: 3", ":5:20", "last is missing"});
  expect_plan_refused({"layers { first: 3 last: 5 }",
                       "layers { first: 4 last: 5 } layers { first: 3 last: 3 }", ":5:48",
                       "ascending"});
}

TEST(PlanParse, EveryRankStandsOnceInAPlan) {
  expect_plan_refused(
      {"ranks: 1", "ranks: 0", ":5:11", "rank 0 is used by replica[0].stage[0] too"});
  expect_plan_refused(
      {"ranks: 2", "ranks: 1", ":9:11", "rank 1 is used by replica[0].stage[1] too"});
  expect_plan_refused({"ranks: 2", "ranks: -1", ":9:11", "ranks[0] is -1"});
  expect_plan_refused(
      {"ranks: 2", "ranks: [2, 3]", ":9:11", "has 2 ranks; allowed today: exactly one"});
  expect_plan_refused({"ranks: 2", "", ":9:3", "has 0 ranks"});
}

TEST(PlanParse, SharesAddUpToTheStep) {
  expect_plan_refused({"share: 4", "share: 3", ":8:3", "add up to 15 grains"});
  expect_plan_refused({"share: 4", "share: 5", ":8:3", "add up to 17 grains"});
  expect_plan_refused({"share: 4", "share: 0", ":8:3", "share is 0; allowed: 1 to 16"});
  expect_plan_refused({"share: 4", "share: 9223372036854775807", ":8:3", "allowed: 1 to 16"});
  expect_plan_refused({"  share: 4\n", "", ":7:1", "replica[1].share is missing"});
}

TEST(PlanParse, WhatTheRecipeDoesNotAllowIsRefused) {
  expect_plan_refused(
      {"share: 4", "share: 4 grains_per_micro_batch: 2", ":8:12", "reduction EXACT"});
  expect_plan_refused({"ranks: 2", "ranks: 2 compute: BF16", ":9:20", "the recipe allows F32"});
  expect_plan_refused({"share: 4", "share: 4 grains_per_micro_batch: 5", ":8:12", "1 to 4"});
}

TEST(PlanParse, WeightsOfOptimizerStateAreForPlansThatShardIt) {
  const std::string weighed = with(kTwoReplicas, "ranks: 2", "ranks: 2 optimizer_weight: 3");
  EXPECT_THAT(error_of([&] { parse_plan(weighed, "p", plan_recipe()); }),
              StartsWith("p:9:20: replica[1].stage[0].optimizer_weight is 3, but the plan does not "
                         "shard; write shard_optimizer: true"));
  const Plan plan = parse_plan("shard_optimizer: true " + weighed, "p", plan_recipe());
  EXPECT_TRUE(plan.shard_optimizer);
  EXPECT_EQ(plan.replicas[1].stages[0].optimizer_weight, 3);
  EXPECT_EQ(plan.replicas[0].stages[0].optimizer_weight, 0);
  expect_plan_refused(
      {"ranks: 2", "ranks: 2 optimizer_weight: -1", ":9:20", "optimizer_weight is -1"});
  expect_plan_refused(
      {"ranks: 2", "ranks: 2 optimizer_weight: 1073741825", ":9:20", "allowed: 0 to 1073741824"});
}

TEST(PlanParse, PlansThatDoNotShardAreWrittenAsOlderBuildsReadThem) {
  EXPECT_EQ(to_text(parse_plan(kTwoReplicas, "p", plan_recipe())).find("optimizer"),
            std::string::npos);
}

TEST(PlanParse, EmptyPlansAndReplicasAreRefused) {
  EXPECT_THAT(error_of([] { parse_plan("version: 1", "p", plan_recipe()); }),
              HasSubstr("no replica"));
  EXPECT_THAT(error_of([] { parse_plan("version: 1 replica { }", "p", plan_recipe()); }),
              HasSubstr("replica[0] has no stage"));
  EXPECT_THAT(error_of([] { parse_plan("version: 3", "p", plan_recipe()); }),
              StartsWith("p:1:1: version 3 is not known"));
}

TEST(PlanParse, UnknownFieldNamesThePlace) {
  expect_plan_refused({"ranks: 2", "rank: 2", ":9:11", "no field \"rank\""});
}

}  // namespace
}  // namespace kente
