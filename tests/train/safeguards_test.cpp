#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <utility>

#include "csrc/base/errors.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

/// Training that something goes wrong in.
class SafeguardsRun : public ExactRun {
 protected:
  SafeguardsRun() {
    Recipe& recipe = options_.train.recipe;
    recipe.steps = 24;
    recipe.guards = {.max_skips = 1, .window_steps = 8, .spike_steps = 2, .rollback_steps = 5};
  }

  ThreadedRun train(const Plan& plan, int ranks) {
    ThreadedRun run = ExactRun::train(plan, ranks);
    events_ = read(options_.run_directories.front() + "/events.jsonl");
    return run;
  }
  static std::string read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  bool told(const std::string& kind, int64_t step) const {
    return events_.find("\"event\":\"" + kind + "\",\"step\":" + std::to_string(step) + ",") !=
               std::string::npos ||
           events_.find("\"step\":" + std::to_string(step) + ",\"event\":\"" + kind + "\"") !=
               std::string::npos;
  }

  const Plan one_ = plan_from_borders({{0, 6}}, {16});
  const Plan pipeline_ = plan_from_borders({{0, 2, 4, 6}}, {16});
  const Plan unequal_ = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
  std::string events_;
};

/// Puts a value that is not finite into the first weights of the last block, once.
void poison_at(int64_t when, int64_t step, Parameters& parameters) {
  constexpr int kGroup = 4;
  if (step == when && parameters.holds(kGroup)) {
    parameters.master(kGroup).data_ptr<float>()[0] = std::numeric_limits<float>::infinity();
    parameters.refresh(kGroup);
  }
}

TEST_F(SafeguardsRun, WeightsThatArePoisonedAreRolledBackAndTheirDataLeftOutOnEveryPlanAlike) {
  std::vector<ThreadedRun> runs;
  for (const auto& [plan, ranks] :
       {std::pair(one_, 1), std::pair(pipeline_, 3), std::pair(unequal_, 3)}) {
    options_.train.touch_weights = [once = std::make_shared<std::atomic<int>>(0), ranks = ranks](
                                       int64_t step, Parameters& parameters) {
      if (step == 12 && once->fetch_add(1) >= ranks) return;  // not when it comes by again
      poison_at(12, step, parameters);
    };
    runs.push_back(train(plan, ranks));
    EXPECT_TRUE(told("skipped", 13)) << events_;
    EXPECT_TRUE(told("roll back", 14)) << events_;
    EXPECT_TRUE(told("went back", 14)) << events_;
    EXPECT_NE(events_.find("to step 5, going on with the data of step 15"), std::string::npos);
    EXPECT_EQ(runs.back().result.step, 24);
    // 14 steps, then from 6 on again: same weights, other samples.
    const std::vector<std::string> losses = runs.back().loss_bits();
    ASSERT_EQ(losses.size(), 14u + 19u);
    EXPECT_NE(losses[14], losses[5]);
    expect_same(runs.back(), runs.front());
  }
  // The record says which.
  const std::string record = read(options_.run_directories.front() + "/run.jsonl");
  EXPECT_NE(
      record.find("\"samples\":[" + std::to_string(14 * 16) + "," + std::to_string(15 * 16 - 1)),
      std::string::npos);
}

TEST_F(SafeguardsRun, GradientScalesGoBackWithTheWeights) {
  Recipe& recipe = options_.train.recipe;
  recipe.numerics.reduction = Reduction::kFast;
  recipe.numerics.substitutes = {DType::kF16};
  Plan plan = one_;
  plan.replicas[0].stages[0].compute = DType::kF16;
  options_.train.touch_weights = [once = false](int64_t step, Parameters& parameters) mutable {
    if (step == 12 && std::exchange(once, true)) return;
    poison_at(12, step, parameters);
  };
  train(plan, 1);
  EXPECT_TRUE(told("went back", 14)) << events_;
  const std::string manifest =
      read(options_.run_directories.front() + "/ckpt/step-000000000024/MANIFEST.json");
  // Steps since the scale was last changed: those of the way back do not count.
  EXPECT_NE(manifest.find(R"(\"replica 0 layers 0-5\":[16,24])"), std::string::npos) << manifest;
}

TEST_F(SafeguardsRun, ARunThatDiesAfterARollBackResumesWithTheSameBits) {
  const auto poison = [](int64_t step, Parameters& parameters) { poison_at(12, step, parameters); };
  // Whoever comes by step 12 a second time has other data, and no poison.
  const auto once = [&](ThreadedOptions& options) {
    options.train.touch_weights = [poison, done = std::make_shared<std::atomic<bool>>(false)](
                                      int64_t step, Parameters& parameters) {
      if (step == 12 && done->exchange(true)) return;
      poison(step, parameters);
    };
  };
  once(options_);
  const ThreadedRun whole = train(one_, 1);
  once(options_);
  options_.train.checkpoint_every = 4;
  options_.train.plan = one_;
  options_.run_directories = {fresh_directory()};
  int seen = 0;
  options_.on_step = [&](int, const StepReport& report) {
    if (report.step == 17 && ++seen == 1) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 1), DeviceError);
  options_.on_step = nullptr;
  options_.train.start = StartMode::kResume;
  options_.train.plan = unequal_;
  const ThreadedRun resumed = train_on_threads(options_, 3);
  EXPECT_EQ(resumed.result.resumed_from, 16);
  EXPECT_EQ(resumed.result.parameters_sha256, whole.result.parameters_sha256);
}

TEST_F(SafeguardsRun, PoisonThatComesBackEndsTheRunWithWhatToDo) {
  options_.train.recipe.guards.max_rollbacks = 1;
  options_.train.touch_weights = [](int64_t step, Parameters& parameters) {
    poison_at(12, step, parameters);
  };
  try {
    train(pipeline_, 3);
    FAIL() << "went on";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("step 14: gradients or losses that are not finite"),
              std::string::npos)
        << error.what();
  }
  EXPECT_NE(read(options_.run_directories.front() + "/report.html"), "");
}

class FlippedBit : public SafeguardsRun {
 protected:
  /// Flips once, at the end of step 12, on the thread that comes first: replicas are alike, so it
  /// does not matter which one it is.
  void flip_once() {
    options_.train.touch_weights = [done = std::make_shared<std::atomic<bool>>(false)](
                                       int64_t step, Parameters& parameters) {
      if (step != 12 || done->exchange(true)) return;
      auto* words = static_cast<uint32_t*>(parameters.master(3).data_ptr());
      words[7] ^= 1u << 22;
    };
  }
};

TEST_F(FlippedBit, OfThreeReplicasIsHealedFromTheOtherTwo) {
  options_.train.check_replicas_every = 4;
  const ThreadedRun undisturbed = train(one_, 1);
  flip_once();
  expect_same(train(plan_from_borders({{0, 6}, {0, 6}, {0, 6}}, {6, 5, 5}), 3), undisturbed);
  EXPECT_TRUE(told("corruption", 12)) << events_;
  EXPECT_NE(events_.find("healed from them"), std::string::npos);
}

TEST_F(FlippedBit, OfTwoReplicasIsProvedByARerunAndTheBitsAreAsUndisturbed) {
  options_.train.check_replicas_every = 4;
  const ThreadedRun undisturbed = train(one_, 1);
  flip_once();
  const ThreadedRun run = train(plan_from_borders({{0, 6}, {0, 6}}, {8, 8}), 2);
  EXPECT_EQ(run.result.parameters_sha256, undisturbed.result.parameters_sha256);
  EXPECT_TRUE(told("went back", 12)) << events_;
  EXPECT_TRUE(told("corruption proved", 12)) << events_;
}

TEST_F(FlippedBit, IsFoundBeforeACheckpointIsMadeOfIt) {
  options_.train.check_replicas_every = 1000;
  options_.train.checkpoint_every = 6;
  const ThreadedRun undisturbed = train(one_, 1);
  flip_once();
  const ThreadedRun run = train(plan_from_borders({{0, 6}, {0, 6}}, {8, 8}), 2);
  EXPECT_EQ(run.result.parameters_sha256, undisturbed.result.parameters_sha256);
  EXPECT_TRUE(told("went back", 12)) << events_;
}

TEST_F(FlippedBit, GoesUnseenWhereNobodyLooks) {
  options_.train.check_replicas_every = 0;
  const ThreadedRun undisturbed = train(one_, 1);
  flip_once();
  const ThreadedRun run = train(plan_from_borders({{0, 6}, {0, 6}}, {8, 8}), 2);
  EXPECT_NE(run.result.parameters_sha256, undisturbed.result.parameters_sha256);
}

}  // namespace
}  // namespace kente
