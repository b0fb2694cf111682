// More of tests/train/gpu_run_test.cpp, by both ways that tensors travel.
#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>

#include "tests/train/gpu_run.h"

namespace kente {
namespace {

class GpuRuns : public GpuRun, public testing::WithParamInterface<TransportChoice> {
 protected:
  GpuRuns() {
    transport_ = GetParam();
    options_.train.recipe.steps = 6;
  }
};

TEST_P(GpuRuns, GoesOnFromMemoryOnAnyPlanWithTheSameBits) {
  pretend::PretendNode node(4, 2);
  const ThreadedRun reference = train(one_, 1);
  options_.train.snapshot_every = 1;
  Plan sharded = three_;
  sharded.shard_optimizer = true;
  die(two_by_two_, 4, 4);
  const ThreadedRun run = resume(sharded, 3);
  EXPECT_GT(run.result.resumed_from, 0) << "nothing is on a disk";
  EXPECT_LE(run.result.resumed_from, 3);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "memory")) << "cleans up after itself";
  die(sharded, 3, 5);
  EXPECT_EQ(resume(one_, 1).result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_P(GpuRuns, CheckpointsFromSnapshotsAndWithoutHoldTheStepTheySay) {
  options_.train.snapshots.clear();
  for (const int64_t snapshot_every : {0, 1, 2})
    for (const bool background : {false, true}) {
      pretend::PretendNode node(4, 3 + static_cast<uint64_t>(snapshot_every));
      options_.train.start = StartMode::kFresh;
      const ThreadedRun reference = train(one_, 1);
      options_.train.snapshots = directory_ / "memory";
      options_.train.snapshot_every = snapshot_every;
      options_.train.background_checkpoints = background;
      options_.train.checkpoint_every = 2;
      train(two_by_two_, 4);
      const std::string run = options_.run_directories.front();
      std::filesystem::remove_all(run + "/ckpt/step-000000000006");
      const ThreadedRun resumed = resume(three_, 3);
      EXPECT_GE(resumed.result.resumed_from, 2);
      EXPECT_EQ(resumed.result.parameters_sha256, reference.result.parameters_sha256)
          << snapshot_every << background;
      options_.train.snapshots.clear();
      options_.train.snapshot_every = options_.train.checkpoint_every = 0;
    }
}

TEST_P(GpuRuns, WeightsThatArePoisonedAreRolledBack) {
  pretend::PretendNode node(4, 5);
  options_.train.recipe.guards.rollback_steps = 2;
  options_.train.recipe.guards.max_skips = 1;
  options_.train.snapshot_every = 1;
  std::atomic<int> holders{0};
  options_.train.touch_weights = [&](int64_t step, Parameters& parameters) {
    constexpr int kGroup = 2;
    if (step != 3 || !parameters.holds(kGroup) || holders++ >= 2) return;  // once on each replica
    const at::Tensor weights = parameters.ops().to_host(parameters.master(kGroup));
    weights.mutable_data_ptr<float>()[0] = std::numeric_limits<float>::infinity();
    parameters.ops().cast(parameters.ops().from_host(weights), parameters.master(kGroup));
    parameters.refresh(kGroup);
  };
  const ThreadedRun run = train(two_by_two_, 4);
  EXPECT_THAT(file("events.jsonl"), testing::HasSubstr("went back"));
  EXPECT_EQ(run.result.step, 6);
  EXPECT_TRUE(std::isfinite(run.result.loss));
}

TEST_P(GpuRuns, ADeviceThatFailsEndsTheRunAndItsStepsAreNotLost) {
  options_.train.snapshot_every = 1;
  Plan plan = two_by_two_;
  std::string reference;
  {
    pretend::PretendNode node(1, 6);
    reference = train(one_, 1).result.parameters_sha256;
  }
  {
    pretend::PretendNode node(4, 7);
    options_.train.plan = plan;
    options_.run_directories = {fresh_directory()};
    node.gpu(1).fail_at(2000, cudaErrorECCUncorrectable);
    EXPECT_THROW(train_on_threads(options_, 4), DeviceError);
    EXPECT_THAT(node.gpu(1).complaint(), testing::HasSubstr("cudaErrorECCUncorrectable"));
  }
  pretend::PretendNode node(3, 8);
  const ThreadedRun run = resume(three_, 3);
  EXPECT_GT(run.result.resumed_from, 0);
  EXPECT_EQ(run.result.parameters_sha256, reference);
}

INSTANTIATE_TEST_SUITE_P(Transports, GpuRuns,
                         testing::Values(TransportChoice::kAuto, TransportChoice::kHost),
                         [](const auto& info) {
                           return info.param == TransportChoice::kAuto ? "Nccl" : "Host";
                         });

}  // namespace
}  // namespace kente
