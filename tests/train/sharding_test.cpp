#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/config/parse.h"
#include "csrc/plan/memory.h"
#include "csrc/plan/shards.h"
#include "csrc/train/optimizer.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

class Sharding : public ExactRun {
 protected:
  Sharding() { options_.train.recipe.steps = 12; }

  /// Trains by one plan until a rank dies in step 8, resumes by another from the checkpoint of step
  /// 6 and returns what that gave. Directories: how many; more than one: ranks share none.
  ThreadedRun interrupted(const std::pair<Plan, int>& before, const std::pair<Plan, int>& after,
                          int directories) {
    options_.train.start = StartMode::kFresh;
    options_.train.plan = before.first;
    options_.train.checkpoint_every = 3;
    options_.run_directories.clear();
    for (int i = 0; i < directories; ++i) options_.run_directories.push_back(fresh_directory());
    options_.on_step = [&](int rank, const StepReport& report) {
      if (report.step == 8 && rank == before.second - 1) throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, before.second), DeviceError);
    options_.on_step = nullptr;
    options_.train.start = StartMode::kResume;
    options_.train.plan = after.first;
    ThreadedRun resumed = train_on_threads(options_, after.second);
    EXPECT_EQ(resumed.result.resumed_from, 6);
    return resumed;
  }
};

/// Weights by rank.
Plan sharded(Plan plan, const std::vector<int64_t>& weights) {
  plan.shard_optimizer = true;
  for (ReplicaPlan& replica : plan.replicas)
    for (StagePlan& stage : replica.stages)
      stage.optimizer_weight = weights[static_cast<size_t>(stage.ranks.front())];
  return plan;
}

const std::pair<Plan, int> kOne = {plan_from_borders({{0, 6}}, {16}), 1};
const std::pair<Plan, int> kTwoStages = {plan_from_borders({{0, 2, 6}}, {16}), 2};
const std::pair<Plan, int> kThreeToOne = {
    sharded(plan_from_borders({{0, 6}, {0, 6}}, {10, 6}), {3, 1}), 2};
const std::pair<Plan, int> kUnequal = {
    sharded(plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4}), {5, 0, 2}), 3};

TEST_F(Sharding, EveryShardedPlanGivesTheBitsOfOneRank) {
  const ThreadedRun one = train(kOne.first, kOne.second);
  const std::vector<std::pair<Plan, int>> plans = {
      {sharded(plan_from_borders({{0, 6}, {0, 6}}, {8, 8}), {0, 0}), 2},
      kThreeToOne,
      kUnequal,
      // The tied table is the only group that two ranks hold.
      {sharded(plan_from_borders({{0, 1, 4, 6}}, {16}), {1, 1, 2}), 4},
      {sharded(plan_from_borders({{0, 6}}, {16}), {1}), 1},
  };
  for (const auto& [plan, ranks] : plans) {
    SCOPED_TRACE(to_text(plan));
    expect_same(train(plan, ranks), one);
  }
}

TEST_F(Sharding, FastRunsRepeatTheUnshardedBits) {
  options_.train.recipe.numerics.reduction = Reduction::kFast;
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {12, 4});
  const ThreadedRun whole = train(plan, 3);
  expect_same(train(sharded(plan, {1, 2, 3}), 3), whole);
}

TEST_F(Sharding, Bf16CopiesFollowTheGatheredWeights) {
  options_.train.recipe.numerics.compute = options_.train.recipe.numerics.boundary = DType::kBF16;
  const auto in_bf16 = [](Plan plan) {
    for (ReplicaPlan& replica : plan.replicas)
      for (StagePlan& stage : replica.stages) stage.compute = DType::kBF16;
    return plan;
  };
  const ThreadedRun one = train(in_bf16(kOne.first), 1);
  expect_same(train(in_bf16(kUnequal.first), 3), one);
}

TEST_F(Sharding, AKilledRunResumesOnAnyOtherPlanWithTheUndisturbedBits) {
  const std::string undisturbed = train(kOne.first, kOne.second).result.parameters_sha256;
  const std::pair<Plan, int> three_stages_sharded = {
      sharded(plan_from_borders({{0, 1, 3, 6}}, {16}), {1, 0, 4}), 3};
  const auto resumed = [&](const auto& before, const auto& after, int directories) {
    return interrupted(before, after, directories).result.parameters_sha256;
  };
  EXPECT_EQ(resumed(kUnequal, kTwoStages, 1), undisturbed) << "sharded, then not";
  EXPECT_EQ(resumed(kTwoStages, kUnequal, 1), undisturbed) << "not, then sharded";
  EXPECT_EQ(resumed(kUnequal, kThreeToOne, 1), undisturbed) << "other shards";
  EXPECT_EQ(resumed(kUnequal, three_stages_sharded, 3), undisturbed) << "nothing shared";
  EXPECT_EQ(resumed(kTwoStages, kThreeToOne, 2), undisturbed) << "nothing shared, then sharded";
}

TEST_F(Sharding, ACheckpointStoresEveryMomentOnceHoweverItIsCut) {
  train(kUnequal.first, kUnequal.second);
  const auto files = posix_file_system();
  const auto steps = list_checkpoints(*files, options_.run_directories[0] + "/ckpt");
  ASSERT_FALSE(steps.empty());
  int64_t moments = 0, pieces = 0;
  for (const Shard& shard : steps[0].manifest.shards)
    for (const StoredTensor& tensor : shard.tensors) {
      if (tensor.name.starts_with("exp_avg")) moments += tensor.bytes;
      pieces += tensor.piece_of ? 1 : 0;
    }
  EXPECT_EQ(moments, 8 * parameter_count(options_.train.recipe.model));
  EXPECT_GT(pieces, 0);
}

TEST_F(Sharding, MomentsTakeTheBytesThatArePredicted) {
  const Recipe& recipe = options_.train.recipe;
  for (const auto& [plan, ranks] : {kTwoStages, kThreeToOne, kUnequal}) {
    const Mesh mesh = make_mesh(recipe, plan, ranks);
    const std::vector<MemoryPrediction> predicted = predict_memory(recipe, plan, mesh);
    for (int rank = 0; rank < ranks; ++rank) {
      const Parameters parameters(recipe.model, mesh.layers_of(rank), DType::kF32);
      const AdamW optimizer(recipe.optimizer, parameters,
                            optimizer_shards_of(rank, mesh, model_layout(recipe.model)));
      int64_t bytes = 0;
      for (const int group : parameters.groups())
        bytes += static_cast<int64_t>(optimizer.exp_avg(group).nbytes() +
                                      optimizer.exp_avg_sq(group).nbytes());
      EXPECT_EQ(bytes, predicted[static_cast<size_t>(rank)].optimizer) << "rank " << rank;
    }
  }
}

}  // namespace
}  // namespace kente
