// Runs on pretended GPUs: what is kept of their state, and where it goes on.
#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>

#include "comm/local.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/parameters_digest.h"
#include "tests/train/gpu_run.h"

namespace kente {
namespace {

TEST_F(GpuRun, TrainsValidatesAndWritesWhatACpuGoesOnFrom) {
  Recipe& recipe = options_.train.recipe;
  recipe.numerics.reduction = Reduction::kFast;
  recipe.validation = {.every_steps = 2, .samples_per_source = 3};
  on_gpus(false);
  const ThreadedRun want = train(two_by_two_, 4);
  const std::string wanted = file("run.jsonl");
  pretend::PretendNode node(4, 1);
  on_gpus(true);
  options_.train.checkpoint_every = 2;
  const ThreadedRun got = train(two_by_two_, 4);
  ASSERT_EQ(got.steps.size(), want.steps.size());
  for (size_t i = 0; i < want.steps.size(); ++i)
    EXPECT_NEAR(got.steps[i].loss, want.steps[i].loss, 1e-5 * want.steps[i].loss) << i;
  EXPECT_THAT(file("environment.json"), testing::HasSubstr("\"gpu\": \"Pretended GPU\""));
  // A CPU goes on from step 2 of the GPUs' run.
  on_gpus(false);
  std::filesystem::remove_all(options_.run_directories.front() + "/ckpt/step-000000000004");
  const ThreadedRun resumed = resume(one_, 1);
  EXPECT_EQ(resumed.result.resumed_from, 2);
  EXPECT_NEAR(resumed.result.loss, want.result.loss, 1e-5 * want.result.loss);
}

Plan in_bf16(Plan plan) {
  for (ReplicaPlan& replica : plan.replicas)
    for (StagePlan& stage : replica.stages) stage.compute = DType::kBF16;
  return plan;
}

TEST_F(GpuRun, GoesOnFromMemoryOnAnyPlanWithTheSameBits) {
  transport_ = TransportChoice::kHost;
  NumericsConfig& numerics = options_.train.recipe.numerics;
  numerics.compute = numerics.boundary = DType::kBF16;  // weights have a copy
  pretend::PretendNode node(4, 2);
  const ThreadedRun reference = train(in_bf16(one_), 1);
  options_.train.snapshot_every = 1;
  Plan sharded = in_bf16(three_);
  sharded.shard_optimizer = true;
  die(in_bf16(two_by_two_), 4, 3);
  const ThreadedRun run = resume(sharded, 3);
  EXPECT_GT(run.result.resumed_from, 0) << "nothing is on a disk";
  EXPECT_LE(run.result.resumed_from, 2);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "memory")) << "cleans up after itself";
}

TEST_F(GpuRun, TheDigestIsOfWhatTheDeviceHasNow) {
  const Recipe& recipe = options_.train.recipe;
  const auto world = make_single();
  const Mesh mesh = make_mesh(recipe, one_, 1);
  std::vector<std::string> digests;
  for (const DeviceChoice choice : {DeviceChoice::kCpu, DeviceChoice::kGpu}) {
    pretend::PretendNode node(1, 9);
    RankDevice device(*world, "node", {.device = choice}, recipe.model);
    Parameters parameters(recipe.model, mesh.layers_of(0), DType::kF32, device.ops());
    HostState state(parameters);
    for (const uint64_t seed : {1, 2}) {
      parameters.init(seed);
      digests.push_back(parameters_digest(*world, mesh, state, Deadline::after_seconds(60)));
    }
  }
  EXPECT_NE(digests[0], digests[1]);
  EXPECT_EQ(digests[2], digests[0]);
  EXPECT_EQ(digests[3], digests[1]);
}

TEST_F(GpuRun, FlippedBitsInItsMemoryAreHealedFromTheMajority) {
  pretend::PretendNode node(3, 4);
  const ThreadedRun reference = train(three_, 3);
  options_.train.check_replicas_every = 1;
  std::atomic<int> rank{0};
  options_.train.touch_weights = [&](int64_t step, Parameters& parameters) {
    if (step != 2 || rank++ != 0) return;
    constexpr int kGroup = 1;
    const at::Tensor flipped = parameters.ops().to_host(parameters.master(kGroup));
    reinterpret_cast<uint32_t*>(flipped.mutable_data_ptr<float>())[5] ^= 1u << 20;
    parameters.ops().cast(parameters.ops().from_host(flipped), parameters.master(kGroup));
  };
  const ThreadedRun run = train(three_, 3);
  EXPECT_THAT(file("events.jsonl"), testing::HasSubstr("healed from them"));
  EXPECT_EQ(run.loss_bits(), reference.loss_bits());
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

}  // namespace
}  // namespace kente
