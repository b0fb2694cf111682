#include "csrc/plan/step_score.h"

#include <gtest/gtest.h>

#include <cmath>

#include "csrc/base/rng.h"
#include "tests/support/brute_force_plans.h"
#include "tests/support/random_clusters.h"

namespace kente {
namespace {

/// Three devices, 6 blocks, 203 grains.
PlanningCase three_stage_case() {
  PlanningCase made = random_small_case(5);
  made.recipe.model.num_hidden_layers = 6;
  made.recipe.numerics.reduction = Reduction::kFast;
  made.recipe.global_batch_tokens = 203 * made.recipe.sequence_length * made.recipe.grain_samples;
  made.cluster.devices.clear();
  for (const double scale : {1.0, 1.7, 4.0})
    made.cluster.devices.push_back(
        made_up_device("d" + std::to_string(scale), scale, int64_t{1} << 40));
  made.cluster.links.clear();
  link_all(made.cluster, 5e-4, 2e9);
  return made;
}

/// The plan's pipelines as the planner would score them.
StepScore score_of(const CostModel& model, const Plan& plan) {
  PipelineRunner runner(model, 1e6);  // memory for everything: recompute is compared elsewhere
  std::vector<PipelineRun> runs;
  runs.reserve(plan.replicas.size());
  std::vector<PipelineClass> classes;
  const int head = model.recipe().model.num_layers() - 1;
  for (const ReplicaPlan& replica : plan.replicas) {
    PipelineSpec spec{.ranks = {},
                      .blocks = {},
                      .share = replica.share,
                      .grains_per_micro_batch = replica.grains_per_micro_batch};
    for (const StagePlan& stage : replica.stages) {
      const LayerRange& layers = stage.layers.front();
      spec.ranks.push_back(stage.ranks.front());
      spec.blocks.push_back(std::min(layers.last, head - 1) - std::max(layers.first, 1) + 1);
    }
    runs.push_back(runner.run(spec, plan.schedule));
    classes.push_back({.pipelines = {spec.ranks}, .run = &runs.back()});
  }
  return score_step(model, classes);
}

TEST(StepScore, IsThePredictionOfThePlanWrittenOut) {
  int64_t plans = 0;
  for (uint64_t seed = 0; seed < 25; ++seed) {
    PlanningCase made = random_small_case(seed);
    for (DeviceProfile& device : made.cluster.devices) device.memory_bytes = int64_t{1} << 40;
    made.recipe.model.tie_word_embeddings = seed % 2 == 0;
    const CostModel model(made.recipe, made.cluster);
    for_every_plan(model, 1, [&](const Plan& plan, const PlanCost& cost) {
      // One in some, by a number that does not follow the loops' order.
      if (random_bits(seed, RngUse::kTest, 3, static_cast<uint64_t>(plans++)) % 16 != 0) return;
      // Where memory is free as much is under way as helps.
      for (const ReplicaPlan& replica : plan.replicas)
        if (replica.under_way != 0 &&
            replica.under_way != 2 * static_cast<int64_t>(replica.stages.size()) - 1)
          return;
      const StepScore score = score_of(model, plan);
      ASSERT_NEAR(score.seconds, cost.step_seconds, 1e-9 * cost.step_seconds);
      ASSERT_NEAR(*score.joules, *cost.joules, 1e-9 * *cost.joules);
      ASSERT_NEAR(*score.price, *cost.price, 1e-9 * *cost.price);
    });
  }
  EXPECT_GT(plans, 1000);
}

TEST(StepScore, OnePipelineStandsForAllThatAreAlike) {
  // 12 pipelines of two kinds over several nodes, 40 ranks: the quotient against the whole.
  PlanningCase made = random_small_case(5);
  made.recipe.model.num_hidden_layers = 6;
  made.recipe.global_batch_tokens = 100 * made.recipe.sequence_length * made.recipe.grain_samples;
  made.cluster.devices = {made_up_device("a", 1, int64_t{1} << 40),
                          made_up_device("b", 3, int64_t{1} << 40)};
  made.cluster.devices[0].count = 16;
  made.cluster.devices[0].per_node = 8;
  made.cluster.devices[1].count = 24;
  made.cluster.devices[1].per_node = 6;
  for (DeviceProfile& device : made.cluster.devices) {
    device.busy_watts = 300;
    device.idle_watts = 40;
  }
  made.cluster.links.clear();
  link_all(made.cluster, 5e-4, 2e9);
  made.cluster.links.push_back({.from = "a",
                                .to = "a",
                                .same_node = true,
                                .latency_seconds = 1e-6,
                                .bytes_per_second = 1e11});
  const CostModel model(made.recipe, made.cluster);
  for (const ScheduleKind schedule : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    const PipelineSpec a{
        .ranks = {0, 1}, .blocks = {3, 3}, .share = 11, .grains_per_micro_batch = 1};
    const PipelineSpec b{
        .ranks = {16, 17, 18}, .blocks = {2, 3, 1}, .share = 3, .grains_per_micro_batch = 1};
    std::vector<PipelineClass> classes(2);
    Plan plan;
    plan.schedule = schedule;
    const auto add = [&](PipelineClass& one, const PipelineSpec& spec, int first, int count) {
      for (int i = 0; i < count; ++i) {
        ReplicaPlan& replica = plan.replicas.emplace_back();
        replica.share = spec.share;
        std::vector<int>& ranks = one.pipelines.emplace_back();
        int layer = 0;
        for (size_t s = 0; s < spec.ranks.size(); ++s) {
          ranks.push_back(first + i * static_cast<int>(spec.ranks.size()) + static_cast<int>(s));
          const bool end = s + 1 == spec.ranks.size();
          const int last = end ? 7 : layer + spec.blocks[s] - (s == 0 ? 0 : 1);
          replica.stages.push_back(
              {.ranks = {ranks.back()}, .layers = {{.first = layer, .last = last}}});
          layer = last + 1;
        }
      }
    };
    add(classes[0], a, 0, 8);
    add(classes[1], b, 16, 4);
    PipelineRunner runner(model, 1);
    const PipelineRun run_a = runner.run(a, schedule), run_b = runner.run(b, schedule);
    classes[0].run = &run_a;
    classes[1].run = &run_b;
    const StepScore score = score_step(model, classes);
    const PlanCost whole = predict(model, plan, Timeline::kLeftOut);
    EXPECT_NEAR(score.seconds, whole.step_seconds, 1e-9 * whole.step_seconds);
    EXPECT_NEAR(*score.joules, *whole.joules, 1e-9 * *whole.joules);
  }
}

TEST(PipelineRunner, ALongShareFollowsTheLineOfShorterOnes) {
  const PlanningCase made = three_stage_case();
  const CostModel model(made.recipe, made.cluster);
  for (const ScheduleKind schedule : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    PipelineSpec spec{
        .ranks = {0, 1, 2}, .blocks = {3, 2, 1}, .share = 203, .grains_per_micro_batch = 2};
    const PipelineRun run = PipelineRunner(model, 1).run(spec, schedule);
    Plan plan;
    plan.schedule = schedule;
    ReplicaPlan& replica = plan.replicas.emplace_back();
    replica.share = spec.share;
    replica.grains_per_micro_batch = 2;
    const int borders[] = {0, 4, 6, 8};
    for (int s = 0; s < 3; ++s)
      replica.stages.push_back(
          {.ranks = {s}, .layers = {{.first = borders[s], .last = borders[s + 1] - 1}}});
    const PlanCost cost = predict(model, plan, Timeline::kLeftOut);
    const StepScore score = score_step(model, {{.pipelines = {spec.ranks}, .run = &run}});
    EXPECT_NEAR(score.seconds, cost.step_seconds, 1e-4 * cost.step_seconds);
    for (size_t rank = 0; rank < 3; ++rank)
      EXPECT_NEAR(static_cast<double>(run.bytes[rank]),
                  static_cast<double>(cost.memory[rank].total()), 64);
  }
}

TEST(PipelineRunner, TablesSayOfEveryStageWhetherItsBlocksFit) {
  int fits = 0, lacks = 0;
  for (const int64_t mib : {180, 200, 230, 260, 300, 400}) {
    PlanningCase made = three_stage_case();
    for (DeviceProfile& device : made.cluster.devices) device.memory_bytes = mib << 20;
    const CostModel model(made.recipe, made.cluster);
    PipelineRunner runner(model, 1);
    for (const ScheduleKind schedule : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
      PipelineSpec spec{.ranks = {0, 1, 2}, .blocks = {}, .share = 5, .grains_per_micro_batch = 1};
      const auto tables = runner.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
      for (int middle = 1; middle <= 6; ++middle)
        for (int first = 0; first + middle <= 6; ++first) {
          spec.blocks = {first, middle, 6 - middle - first};
          const PipelineRun run = runner.run(spec, schedule);
          for (size_t i = 0; i < 3; ++i) {
            const double seconds = tables[i][static_cast<size_t>(spec.blocks[i])];
            EXPECT_EQ(std::isfinite(seconds), run.lacking[i] == 0) << mib << " MiB, stage " << i;
            ++(run.lacking[i] == 0 ? fits : lacks);
          }
        }
    }
  }
  EXPECT_GT(fits, 50);
  EXPECT_GT(lacks, 50);
}

}  // namespace
}  // namespace kente
