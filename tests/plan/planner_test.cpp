#include "csrc/plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "csrc/base/errors.h"
#include "csrc/config/parse.h"
#include "csrc/plan/nothing_fits.h"
#include "csrc/plan/pipeline_run.h"
#include "tests/support/brute_force_plans.h"
#include "tests/support/random_clusters.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;

/// 2 : 1 : 1 in speed, memory for all.
PlanningCase three_devices() {
  PlanningCase made = random_small_case(2);
  made.recipe.model.num_hidden_layers = 5;
  made.recipe.global_batch_tokens = 8 * made.recipe.sequence_length * made.recipe.grain_samples;
  made.recipe.numerics.reduction = Reduction::kFast;
  made.cluster.devices = {made_up_device("fast", 1, int64_t{4} << 30),
                          made_up_device("slow", 2, int64_t{4} << 30)};
  made.cluster.devices[1].count = 2;
  made.cluster.links.clear();
  link_all(made.cluster, 1e-5, 1e10);
  return made;
}

TEST(Planner, TheSameInputGivesTheSamePlanAndTheSameRunnersUp) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const PlanningCase made = random_small_case(seed);
    const CostModel model(made.recipe, made.cluster);
    const PlanResult first = make_plan(model, {}), second = make_plan(model, {});
    ASSERT_EQ(first.finalists.size(), second.finalists.size());
    for (size_t i = 0; i < first.finalists.size(); ++i) {
      EXPECT_EQ(first.finalists[i].plan, second.finalists[i].plan) << "case " << seed;
      EXPECT_EQ(first.finalists[i].why_not, second.finalists[i].why_not);
    }
  }
}

TEST(Planner, FinalistsAreInOrderAndSayWhyTheyLost) {
  const PlanningCase made = three_devices();
  const CostModel model(made.recipe, made.cluster);
  const PlanResult result = make_plan(model, {});
  ASSERT_EQ(result.finalists.size(), 6u);
  EXPECT_EQ(result.finalists.front().why_not, "");
  std::set<std::string> texts;
  for (size_t i = 0; i < result.finalists.size(); ++i) {
    const Candidate& candidate = result.finalists[i];
    texts.insert(to_text(candidate.plan));
    EXPECT_EQ(candidate.value, predict(model, candidate.plan).step_seconds);
    ASSERT_TRUE(candidate.plan.prediction);
    EXPECT_EQ(candidate.plan.prediction->step_seconds, candidate.value);
    if (i == 0) continue;
    EXPECT_GE(candidate.value, result.finalists[i - 1].value);
    EXPECT_THAT(candidate.why_not, testing::StartsWith("+"));
  }
  EXPECT_EQ(texts.size(), 6u);
}

TEST(Planner, GivesTheFastDeviceTwiceTheWork) {
  const PlanningCase made = three_devices();
  const CostModel model(made.recipe, made.cluster);
  const Candidate winner = make_plan(model, {}).finalists.front();
  // Perfect sharing would take as long as four slow devices need together.
  double together = 0;
  for (int rank = 0; rank < 3; ++rank)
    together += model.alone_grains_per_second(model.ranks().device_of(rank));
  EXPECT_GE(8 / together / winner.value, 0.9);
}

/// What three_devices() is, the slow ones twice as fast in bf16.
PlanningCase two_types() {
  PlanningCase made = three_devices();
  made.recipe.numerics.substitutes = {DType::kBF16};
  DeviceProfile& slow = made.cluster.devices[1];
  for (LayerCurve curve : made_up_device("half", 1, 1).curves) {
    curve.compute = DType::kBF16;
    slow.curves.push_back(curve);
  }
  return made;
}

TEST(Planner, EveryDeviceComputesInItsFasterType) {
  const PlanningCase made = two_types();
  const CostModel model(made.recipe, made.cluster);
  const Candidate winner = make_plan(model, {}).finalists.front();
  int stages = 0;
  for (const ReplicaPlan& replica : winner.plan.replicas)
    for (const StagePlan& stage : replica.stages) {
      EXPECT_EQ(stage.compute, stage.ranks.front() == 0 ? DType::kF32 : DType::kBF16);
      ++stages;
    }
  EXPECT_EQ(stages, 3) << "all are worth using";
  EXPECT_EQ(parse_plan(to_text(winner.plan), "p", made.recipe), winner.plan);
  EXPECT_LE(winner.value, brute_force(model, 1).seconds * (1 + 1e-9));
}

TEST(PipelineRunner, AStageNeedsTheMemoryOfItsOwnType) {
  const PlanningCase made = two_types();
  const CostModel model(made.recipe, made.cluster);
  PipelineRunner runner(model, 1e-9);  // nothing fits: what lacks is what is needed
  const auto first_stage = [&](const std::vector<int>& ranks) {
    const PipelineSpec spec = {
        .ranks = ranks, .blocks = {}, .share = 8, .grains_per_micro_batch = 1};
    return runner.stage_tables(spec, ScheduleKind::k1F1B, PipelineRunner::Fill::kLacking)[0][2];
  };
  const double in_f32 = first_stage({0, 1});
  EXPECT_GT(in_f32, first_stage({1, 0})) << "rank 1 computes in bf16";
  EXPECT_EQ(in_f32, first_stage({0, 2}));
}

TEST(Planner, LeavesOutADeviceThatOnlyHurts) {
  PlanningCase made = three_devices();
  made.cluster.devices[1] = made_up_device("snail", 500, int64_t{4} << 30);
  made.cluster.links.clear();
  link_all(made.cluster, 1e-5, 1e10);
  const CostModel model(made.recipe, made.cluster);
  const PlanResult result = make_plan(model, {});
  ASSERT_EQ(result.finalists.front().plan.replicas.size(), 1u);
  EXPECT_EQ(result.finalists.front().plan.replicas[0].stages.size(), 1u);
}

TEST(Planner, KeepsToTheMemoryItMayUse) {
  int recomputed = 0, bigger_was_faster = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const PlanningCase made = random_small_case(seed);
    const CostModel model(made.recipe, made.cluster);
    const PlanResult result = make_plan(model, {});
    for (const Candidate& candidate : result.finalists) {
      const Mesh mesh = make_mesh(made.recipe, candidate.plan, model.ranks().num_ranks());
      for (int rank = 0; rank < mesh.num_ranks; ++rank) {
        if (mesh.replica_of(rank) < 0) continue;
        const auto r = static_cast<size_t>(rank);
        EXPECT_LE(static_cast<double>(candidate.cost.memory[r].total()),
                  0.95 * static_cast<double>(candidate.cost.free_bytes[r]));
      }
      for (const ReplicaPlan& replica : candidate.plan.replicas)
        for (const StagePlan& stage : replica.stages)
          recomputed += stage.recompute == Recompute::kFull;
    }
    for (const Candidate& candidate : result.too_big) {
      ++bigger_was_faster;
      EXPECT_LT(candidate.value, result.finalists.front().value);
      EXPECT_THAT(candidate.why_not, HasSubstr("more than it may take"));
    }
  }
  EXPECT_GT(recomputed, 0) << "no case was short of memory";
  EXPECT_GT(bigger_was_faster, 0);
}

TEST(Planner, LeavesTheMemoryThatSnapshotsWant) {
  PlanningCase made = three_devices();
  made.recipe.model.vocab_size = 50'000;
  made.cluster.devices.resize(1);
  made.cluster.links.clear();
  made.cluster.measured = measured_layers(made.recipe);
  const Plan alone = plan_from_borders({{0, made.recipe.model.num_layers()}}, {8});
  const auto needs = [&](int copies) {
    return predict_memory(made.recipe, alone, make_mesh(made.recipe, alone, 1), copies).front();
  };
  const auto planned = [&](int copies) {
    return make_plan(CostModel(made.recipe, made.cluster, copies), {});
  };
  const auto room_for = [&](int copies) {
    return static_cast<int64_t>(static_cast<double>(needs(copies).total()) / 0.95) + 1;
  };
  made.cluster.devices[0].memory_bytes = room_for(0);
  EXPECT_EQ(planned(0).finalists.front().cost.memory.front().snapshots, 0);
  EXPECT_THAT(planned(kSnapshotCopies).nothing_fits, HasSubstr("needs"));
  made.cluster.devices[0].memory_bytes = room_for(kSnapshotCopies);
  const PlanResult result = planned(kSnapshotCopies);
  ASSERT_FALSE(result.finalists.empty()) << result.nothing_fits;
  EXPECT_EQ(result.finalists.front().cost.memory.front().snapshots,
            needs(kSnapshotCopies).snapshots);
  EXPECT_TRUE(planned(kSnapshotCopiesOnNodes).finalists.empty());
}

TEST(Planner, ShardsTheOptimizerWhereOnlyThatLetsReplicasFit) {
  PlanningCase made = three_devices();
  made.recipe.model.vocab_size = 50'000;
  made.recipe.model.hidden_size = 256;
  made.recipe.model.intermediate_size = 1024;
  made.cluster.devices.resize(1);
  made.cluster.devices[0].count = 2;
  made.cluster.measured = measured_layers(made.recipe);
  made.cluster.links.clear();
  link_all(made.cluster, 1e-5, 1e12);
  Plan replicas = plan_from_borders(
      {{0, made.recipe.model.num_layers()}, {0, made.recipe.model.num_layers()}}, {4, 4});
  const Mesh mesh = make_mesh(made.recipe, replicas, 2);
  const MemoryPrediction needs = predict_memory(made.recipe, replicas, mesh).front();
  // Room for a replica with three quarters of its moments.
  const double room =
      static_cast<double>(needs.total()) - 0.25 * static_cast<double>(needs.optimizer);
  made.cluster.devices[0].memory_bytes = static_cast<int64_t>(room / 0.95);
  const CostModel model(made.recipe, made.cluster);
  const Plan whole = make_plan(model, {.sharding = Sharding::kNever}).finalists.front().plan;
  EXPECT_EQ(whole.replicas.size(), 1u);
  const Candidate winner = make_plan(model, {}).finalists.front();
  EXPECT_EQ(winner.plan.replicas.size(), 2u);
  EXPECT_TRUE(winner.plan.shard_optimizer);
  EXPECT_LT(static_cast<double>(winner.cost.memory[0].total()), room);
  EXPECT_LT(winner.value, predict(model, whole).step_seconds);
}

TEST(Planner, WhatItSaysWouldFitDoesFit) {
  int explained = 0;
  for (uint64_t seed = 0; seed < 500 && explained < 8; ++seed) {
    PlanningCase made = random_small_case(seed);
    const PlanOptions options{.sharding = Sharding::kNever, .runners_up = 0};
    const CostModel model(made.recipe, made.cluster);
    const PlanResult result = make_plan(model, options);
    if (!result.finalists.empty()) continue;
    ++explained;
    const NearestPipeline nearest = nearest_pipeline(model, options);
    ASSERT_GT(nearest.total_lacking, 0);
    EXPECT_THAT(result.nothing_fits, HasSubstr("no plan fits into 95 % of the free memory"));
    std::vector<int64_t> more(made.cluster.devices.size(), 0);  // by device, for each rank of it
    for (size_t i = 0; i < nearest.ranks.size(); ++i) {
      if (nearest.lacking[i] == 0) continue;
      EXPECT_THAT(result.nothing_fits, HasSubstr("rank " + std::to_string(nearest.ranks[i])));
      int64_t& most = more[static_cast<size_t>(model.ranks().device_of(nearest.ranks[i]))];
      most = std::max(most, nearest.lacking[i]);
    }
    for (size_t d = 0; d < more.size(); ++d)
      made.cluster.devices[d].memory_bytes +=
          static_cast<int64_t>(static_cast<double>(more[d]) / 0.95) + 2;
    EXPECT_FALSE(make_plan(CostModel(made.recipe, made.cluster), options).finalists.empty());
  }
  EXPECT_EQ(explained, 8);
}

TEST(Planner, EnergyAndMoneyChooseOtherPlansThanTime) {
  PlanningCase made = three_devices();
  for (DeviceProfile& device : made.cluster.devices) {
    device.busy_watts = 100;
    device.idle_watts = 10;
    device.price_per_hour = 1;
  }
  // The fast device is cheap and frugal: alone it is slower, and costs less.
  made.cluster.devices[1].busy_watts = 2000;
  made.cluster.devices[1].price_per_hour = 20;
  const CostModel model(made.recipe, made.cluster);
  const auto winner = [&](Objective objective) {
    return make_plan(model, {.objective = objective}).finalists.front();
  };
  const Candidate time = winner(Objective::kTime);
  for (const Objective objective : {Objective::kEnergy, Objective::kMoney}) {
    const Candidate other = winner(objective);
    EXPECT_GT(other.cost.step_seconds, time.cost.step_seconds);
    EXPECT_LT(*other.cost.joules, *time.cost.joules);
    EXPECT_LT(*other.cost.price, *time.cost.price);
    const double best = objective == Objective::kEnergy ? *other.cost.joules : *other.cost.price;
    EXPECT_EQ(other.value, best);
  }
}

TEST(Planner, EnergyAndMoneyAreWithinAPercentOfTheBestPlan) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const PlanningCase made = random_small_case(seed);
    const CostModel model(made.recipe, made.cluster);
    std::optional<double> joules, price;
    for_every_plan(model, 0.95, [&](const Plan&, const PlanCost& cost) {
      joules = std::min(joules.value_or(*cost.joules), *cost.joules);
      price = std::min(price.value_or(*cost.price), *cost.price);
    });
    if (!joules) continue;
    const auto value = [&](Objective objective) {
      return make_plan(model, {.objective = objective, .runners_up = 0}).finalists.front().value;
    };
    EXPECT_LE(value(Objective::kEnergy), 1.01 * *joules) << "case " << seed;
    EXPECT_LE(value(Objective::kMoney), 1.01 * *price) << "case " << seed;
  }
}

TEST(Planner, AnObjectiveWithoutItsNumbersNamesTheDeviceAndTheField) {
  const PlanningCase made = three_devices();
  const CostModel model(made.recipe, made.cluster);
  const auto refusal = [&](Objective objective) -> std::string {
    try {
      make_plan(model, {.objective = objective});
    } catch (const UsageError& error) {
      return error.what();
    }
    return "planned";
  };
  EXPECT_THAT(refusal(Objective::kEnergy), HasSubstr("device \"fast\" has no busy_watts"));
  EXPECT_THAT(refusal(Objective::kMoney), HasSubstr("device \"fast\" has no price_per_hour"));
}

TEST(Planner, TheBeamAloneFindsNearlyWhatLookingAtAllLayoutsFinds) {
  PlanOptions beam{.runners_up = 2, .most_layouts = 0};
  int cases = 0, within = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const PlanningCase made = random_small_case(seed);
    const CostModel model(made.recipe, made.cluster);
    const PlanResult all = make_plan(model, {.runners_up = 0});
    if (all.finalists.empty()) continue;
    const PlanResult searched = make_plan(model, beam);
    ++cases;
    if (searched.finalists.empty()) continue;
    within += searched.finalists.front().value <= 1.01 * all.finalists.front().value;
  }
  EXPECT_GE(within, cases * 9 / 10) << cases << " cases";
}

TEST(Planner, HundredsOfDevicesOfEightKindsBeatEveryEvenPlan) {
  const PlanningCase made = large_case(200, 16, 512);
  const CostModel model(made.recipe, made.cluster);
  const PlanResult result = make_plan(model, {.runners_up = 2});
  ASSERT_EQ(result.finalists.size(), 3u);
  const Candidate& winner = result.finalists.front();
  EXPECT_TRUE(winner.cost.overfull().empty());
  EXPECT_EQ(winner.value, predict(model, winner.plan, Timeline::kLeftOut).step_seconds);
  for (const int stages : {2, 4, 5, 8, 10}) {
    const Plan even = even_plan(made.recipe, 200, stages);
    EXPECT_LT(winner.value, predict(model, even, Timeline::kLeftOut).step_seconds / 1.5) << stages;
  }
}

}  // namespace
}  // namespace kente
