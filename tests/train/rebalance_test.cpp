#include "csrc/train/rebalance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "csrc/base/log_file.h"
#include "csrc/base/rng.h"
#include "csrc/plan/cost_model.h"
#include "csrc/plan/settled.h"
#include "tests/support/made_up_cluster.h"
#include "tests/support/small_recipes.h"
#include "tests/train/snapshot_run.h"

namespace kente {
namespace {

using testing::HasSubstr;

/// Two ranks that are planned as equals.
class RebalanceTest : public testing::Test {
 protected:
  /// grains: of one rank, a step.
  explicit RebalanceTest(int64_t grains = 8)
      : recipe_(recipe_of(grains)), plan_(plan_from_borders({{0, 6}, {0, 6}}, {grains, grains})) {}
  static Recipe recipe_of(int64_t grains) {
    Recipe recipe = small_recipe(ModelFamily::kGpt2);
    recipe.global_batch_tokens = 2 * grains * recipe.grain_samples * recipe.sequence_length;
    return recipe;
  }
  ClusterProfile cluster(double first, double second) const {
    return made_up_cluster(recipe_, {.speeds = {first, second}});
  }
  /// A stretch under the current plan, the ranks as fast as that; whether a change is wanted then.
  bool stretch(double first, double second, int64_t steps_left = 1000, double seconds = 1) {
    return wanted_after({.seconds = seconds,
                         .off = true,
                         .corrected = cluster(first, second),
                         .steps_left = steps_left});
  }
  /// One that is as predicted within noise, and ends many that together show the ranks as fast as
  /// that, with that error.
  bool settled(double first, double second, double error, double seconds = 1) {
    return wanted_after(
        {.seconds = seconds,
         .off = false,
         .corrected = {},
         .settled = WatchedSteps::Settled{.corrected = cluster(first, second), .error = error},
         .steps_left = 1000});
  }
  bool wanted_after(const Rebalance::Stretch& measured) {
    verdict_ = rebalance_.stretch(plan_, measured);
    const Deadline deadline = Deadline::after_seconds(60);
    while (!deadline.passed()) {
      if (rebalance_.wanted()) return true;
      if (!rebalance_.looking()) return false;
    }
    return false;
  }
  int64_t share(int rank) const {
    for (const ReplicaPlan& replica : plan_.replicas)
      if (replica.stages.size() == 1 && replica.stages.front().ranks.front() == rank)
        return replica.share;
    return 0;
  }
  void change() {
    const Rebalance::Change taken = rebalance_.take();
    plan_ = taken.plan;
    gain_ = taken.gain;
  }

  const Recipe recipe_;
  const std::unique_ptr<Log> log_ = null_log();
  Rebalance rebalance_{recipe_, 0, *log_};
  Plan plan_;
  std::optional<std::string> verdict_;
  double gain_ = 0;
};

TEST_F(RebalanceTest, TakesWorkFromASlowRankAndGivesItBack) {
  EXPECT_FALSE(stretch(1, 0.25)) << "one stretch may have been disturbed";
  ASSERT_TRUE(stretch(1, 0.25));
  change();
  EXPECT_NEAR(gain_, 8.0 * 4 / 13, 0.3) << "8 grains at a quarter of the speed, then 13 at full";
  EXPECT_GE(share(0), 12);
  EXPECT_FALSE(stretch(1, 1, 1000, 0.4));
  EXPECT_THAT(verdict_.value(), HasSubstr("a step takes 0.4 s, before 1 s"));
  ASSERT_TRUE(stretch(1, 1, 1000, 0.4));
  change();
  EXPECT_EQ(share(0), 8);
  EXPECT_EQ(share(1), 8);
}

TEST_F(RebalanceTest, AStretchThatEndsBeforeAWantedChangeIsTakenLeavesItAsItIs) {
  EXPECT_FALSE(stretch(1, 0.25));
  ASSERT_TRUE(stretch(1, 0.25));
  ASSERT_TRUE(stretch(1, 0.5)) << "between the vote and the change";
  change();
  EXPECT_GE(share(0), 12);
}

TEST_F(RebalanceTest, NoiseOfTenPercentMovesNothing) {
  const auto noisy = [](uint64_t draw) {
    return 1 + 0.1 * (2 * random_uniform(1, RngUse::kImitation, 7, draw) - 1);
  };
  for (uint64_t draw = 0; draw < 200; draw += 2)
    EXPECT_FALSE(stretch(noisy(draw), noisy(draw + 1))) << draw;
}

TEST_F(RebalanceTest, ASmallGainIsTakenWhenManyStretchesTogetherPromiseIt) {
  // 8 grains at 0.85 of the speed, or 9 at full and 7 at 0.85: 1.05 times.
  EXPECT_FALSE(stretch(1, 0.85));
  EXPECT_FALSE(stretch(1, 0.85)) << "too little for two";
  EXPECT_FALSE(settled(1, 0.85, 0.07)) << "noise may promise as much";
  ASSERT_TRUE(settled(1, 0.85, 0.04));
  change();
  EXPECT_NEAR(gain_, 1.05, 0.02);
  EXPECT_EQ(share(0), 9);
  EXPECT_FALSE(settled(1, 0.85, 0.001)) << "there is no better plan";
}

/// Shares that can move by small parts.
class FineRebalanceTest : public RebalanceTest {
 protected:
  FineRebalanceTest() : RebalanceTest(64) {}
};

TEST_F(FineRebalanceTest, FourStretchesOfNoiseMoveNothing) {
  const auto noisy = [](uint64_t draw) {
    return 1 + 0.1 * (2 * random_uniform(1, RngUse::kImitation, 8, draw) - 1);
  };
  const ClusterProfile equal = cluster(1, 1);
  const CostModel model(recipe_, equal);
  uint64_t draw = 0;
  for (int window = 0; window < 100; ++window) {
    std::vector<StepMeasurement> stretches(4);
    for (StepMeasurement& stretch : stretches) {
      const double first = noisy(draw++), second = noisy(draw++);
      const ClusterProfile now = cluster(first, second);
      const PlanCost cost = predict(CostModel(recipe_, now), plan_);
      stretch.step_seconds = cost.step_seconds;
      for (const PhaseSeconds& phases : cost.ranks)
        stretch.ranks.push_back({.phases = phases, .end_wait = 0, .waited_for = {}});
    }
    const SettledMeasurement together = settle(stretches);
    EXPECT_FALSE(wanted_after(
        {.seconds = 1,
         .off = false,
         .corrected = {},
         .settled =
             WatchedSteps::Settled{corrected_profile(model, plan_, together.mean), together.error},
         .steps_left = 1000}))
        << window;
  }
}

TEST_F(RebalanceTest, ASmallChangeThatBroughtNothingMakesTheNextSmallOneHarder) {
  ASSERT_TRUE(settled(1, 0.85, 0.01));
  change();
  plan_ = plan_from_borders({{0, 6}, {0, 6}}, {8, 8});
  EXPECT_FALSE(settled(1, 0.85, 0.01)) << "1.05 times, 1.06 are wanted";
  EXPECT_THAT(verdict_.value(), HasSubstr("no gain; the next change must promise 1.06x"));
  EXPECT_FALSE(stretch(1, 0.25));
  EXPECT_TRUE(stretch(1, 0.25)) << "a large one is as near as before";
}

TEST_F(RebalanceTest, AStretchAsPredictedStartsTheCountAgain) {
  EXPECT_FALSE(stretch(1, 0.25));
  rebalance_.stretch(plan_, {.seconds = 1, .off = false, .corrected = {}, .steps_left = 1000});
  EXPECT_FALSE(rebalance_.wanted());
  EXPECT_FALSE(stretch(1, 0.25));
  EXPECT_TRUE(stretch(1, 0.25));
}

TEST_F(RebalanceTest, WhatIsLeftOfTheRunMustBeWorthTheChange) {
  rebalance_.cost(100);
  // Seconds a step are saved.
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(stretch(1, 0.25, 20));
  EXPECT_TRUE(stretch(1, 0.25, 2000));
}

TEST_F(RebalanceTest, AChangeThatBroughtNothingMakesTheNextOneHarder) {
  for (int change_number = 0; change_number < 6; ++change_number) {
    const double least = 1 + 0.12 * (1 << change_number);
    plan_ = plan_from_borders({{0, 6}, {0, 6}}, {8, 8});
    EXPECT_FALSE(stretch(1, 0.3));
    EXPECT_EQ(verdict_.value_or("").find("no gain") == std::string::npos, least < 1.13);
    if (!stretch(1, 0.3)) {
      EXPECT_GT(least, 2) << "8 grains at 0.3 of the speed, or 12 at full: 2.2 times";
      return;
    }
    change();
  }
  FAIL() << "changes for ever";
}

/// A run whose profile says that both ranks are equal, while the second is ten times as slow.
class RebalancedRun : public SnapshotRun {
 protected:
  RebalancedRun() {
    options_.train.recipe.steps = 50;
    options_.train.rebalance = true;
    options_.train.cluster = made_up_cluster(
        options_.train.recipe,
        {.block_seconds = kLayer, .embedding_seconds = kLayer, .head_seconds = 2 * kLayer});
    const ImitatedLayer layer{
        .forward = kLayer, .backward_input = kLayer, .backward_weight = kLayer};
    ImitatedRank rank;
    rank.waits = true;
    rank.embedding = rank.block = rank.head = layer;
    rank.head.loss = kLayer;
    options_.train.imitation = Imitation{.ranks = {rank, rank}};
    options_.train.imitation->ranks[1].speed = 0.1;
    options_.train.plan = plan_from_borders({{0, 6}, {0, 6}}, {8, 8});
  }
  /// Steps at which something of that kind was recorded.
  std::vector<int64_t> steps_of(const std::string& kind) {
    std::vector<int64_t> steps;
    std::ifstream file(options_.run_directories.front() + "/events.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto event = nlohmann::json::parse(line);
      if (event.at("event") == kind) steps.push_back(event.at("step"));
    }
    return steps;
  }
  ThreadedRun run() {
    options_.run_directories = {fresh_directory()};
    return train_on_threads(options_, 2);
  }
  // Longer than computing takes: what is imitated must be what is slow.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  static constexpr double kLayer = 6e-4;
#else
  static constexpr double kLayer = 5e-5;
#endif
};

TEST_F(RebalancedRun, MovesTheWorkOnceThroughMemoryOrDiskAndChangesNoBit) {
  ThreadedOptions plain = options_;
  plain.train.cluster.reset();
  plain.train.imitation.reset();
  plain.train.snapshots.clear();
  plain.run_directories = {fresh_directory()};
  const ThreadedRun reference = train_on_threads(plain, 2);
  for (const bool memory : {true, false}) {
    options_.train.snapshot_every = memory ? 1 : 0;
    const ThreadedRun moved = run();
    EXPECT_EQ(moved.loss_bits(), reference.loss_bits()) << "every step once";
    EXPECT_EQ(moved.result.parameters_sha256, reference.result.parameters_sha256);
    const std::vector<int64_t> steps = steps_of("rebalance");
    ASSERT_GE(steps.size(), 1u);
    EXPECT_LE(steps.front(), 34) << "two stretches of ten, and the planning";
    EXPECT_EQ(steps_of("rebalanced").size(), steps.size());
    EXPECT_EQ(moved.result.resumed_from, 0);
    EXPECT_EQ(std::filesystem::exists(options_.run_directories.front() + "/ckpt/" +
                                      step_directory(steps.front())),
              !memory);
  }
}

TEST_F(RebalancedRun, WhereTheStateCanBeStoredNowhereThePlanStays) {
  options_.train.snapshot_every = 0;
  options_.train.recipe.steps = 30;
  options_.on_file = [this](int, std::string_view, const std::string& path) {
    if (path.find("/ckpt/") != std::string::npos && steps_of("finished").empty())
      throw StorageError(path + ": no space left");
  };
  run();
  EXPECT_GE(steps_of("not rebalanced").size(), 1u);
  EXPECT_LE(steps_of("not rebalanced").size(), 2u) << "not tried again at every step";
  EXPECT_TRUE(steps_of("rebalance").empty());
}

}  // namespace
}  // namespace kente
