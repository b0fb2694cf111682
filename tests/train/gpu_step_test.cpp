// Steps of ranks with pretended GPUs, whose gradients and activations travel through the host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "comm/staged.h"
#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "csrc/plan/shards.h"
#include "csrc/train/environment.h"
#include "csrc/train/step.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/on_threads.h"
#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_threads.h"

namespace kente {
namespace {

Recipe gpu_recipe(ModelFamily family, Reduction reduction) {
  Recipe recipe = small_recipe(family);
  recipe.model.num_hidden_layers = 2;
  recipe.model.num_attention_heads = 2;  // of 16, as RoPE's kernel wants it
  recipe.model.num_key_value_heads = family == ModelFamily::kGpt2 ? 2 : 1;
  recipe.sequence_length = 8;
  recipe.global_batch_tokens = 4 * 8;
  recipe.steps = 1;
  recipe.numerics.reduction = reduction;
  return recipe;
}

/// What a rank computes on: its pretended GPU, or the CPU.
class RankDevice {
 public:
  RankDevice(Communicator& world, bool gpu) : world_(world) {
    if (!gpu) return;
    device_ = make_gpu_device(world.rank());
    stream_ = device_->make_stream(Urgency::kUsual);
    ops_ = std::make_unique<GpuOps>(world.rank(), *device_, *stream_);
    staged_ = make_staged(world, *device_, *stream_);
  }
  Ops& ops() { return ops_ ? *ops_ : cpu_ops(); }
  Communicator& world() { return staged_.host ? *staged_.host : world_; }
  Communicator* tensors() { return staged_.tensors.get(); }

 private:
  Communicator& world_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<GpuOps> ops_;
  StagedCommunicators staged_;
};

struct Trained {
  std::vector<StepReport> steps;
  std::map<int, std::vector<float>> weights;  // by group, of the lowest rank that holds it
};

/// gpus: which ranks have one.
Trained train(const Recipe& recipe, const Plan& plan, const std::vector<bool>& gpus,
              const std::function<void(Step&)>& prepare = {}) {
  Trained trained;
  std::mutex mutex;
  on_threads(static_cast<int>(gpus.size()), [&](Communicator& world) {
    const int rank = world.rank();
    RankDevice device(world, gpus[static_cast<size_t>(rank)]);
    const Mesh mesh = make_mesh(recipe, plan, world.size());
    Parameters parameters(recipe.model, mesh.layers_of(rank), compute_dtype(plan, mesh, rank),
                          device.ops());
    AdamW optimizer(recipe.optimizer, parameters,
                    optimizer_shards_of(rank, mesh, model_layout(recipe.model)));
    Step step(recipe, plan, mesh, device.world(), parameters, optimizer, 20, device.tensors());
    parameters.init(recipe.seed);
    if (prepare) prepare(step);
    for (int64_t s = 1; s <= recipe.steps; ++s) {
      std::vector<MicroBatch> batches;
      if (mesh.reads_data(rank))
        for (const MeshMicroBatch& m :
             mesh.replicas[static_cast<size_t>(mesh.replica_of(rank))].micro_batches)
          batches.push_back(made_up_batch(recipe, s, m));
      const StepReport report = step.run(s, std::move(batches), {});
      if (rank == 0) trained.steps.push_back(report);
    }
    for (const Bucket& bucket : mesh.buckets)
      for (const int group : bucket.groups) {
        if (bucket.holders.front() != rank || parameters.layout(group).size == 0) continue;
        const at::Tensor weights = parameters.ops().to_host(parameters.master(group));
        const auto* data = weights.const_data_ptr<float>();
        const std::lock_guard lock(mutex);
        trained.weights[group] = {data, data + weights.numel()};
      }
  });
  return trained;
}

/// Two replicas of two stages, cut unlike, with unlike shares.
Plan two_by_two() { return plan_from_borders({{0, 2, 4}, {0, 3, 4}}, {3, 1}); }

void expect_near(const Trained& got, const Trained& want, double tolerance) {
  ASSERT_EQ(got.steps.size(), want.steps.size());
  for (size_t s = 0; s < want.steps.size(); ++s) {
    EXPECT_EQ(got.steps[s].tokens, want.steps[s].tokens);
    EXPECT_NEAR(got.steps[s].loss, want.steps[s].loss, tolerance * want.steps[s].loss) << s;
    EXPECT_NEAR(got.steps[s].grad_norm, want.steps[s].grad_norm,
                10 * tolerance * want.steps[s].grad_norm)
        << s;
  }
}

double largest_difference(const Trained& a, const Trained& b) {
  double largest = 0;
  for (const auto& [group, weights] : a.weights)
    for (size_t i = 0; i < weights.size(); ++i)
      largest = std::max(largest, std::abs(double{weights[i]} - b.weights.at(group)[i]));
  return largest;
}

class GpuSteps : public testing::TestWithParam<uint64_t> {};

TEST_P(GpuSteps, TwoByTwoRanksTrainAsOnTheCpu) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama}) {
    Recipe recipe = gpu_recipe(family, Reduction::kFast);
    recipe.steps = 3;
    const Trained want = train(recipe, two_by_two(), {false, false, false, false});
    pretend::PretendNode node(4, GetParam());
    const Trained got = train(recipe, two_by_two(), {true, true, true, true});
    expect_near(got, want, 1e-5);
    // AdamW divides by what may be as small as rounding: a step is at most lr.
    EXPECT_LT(largest_difference(got, want), 0.1 * recipe.optimizer.learning_rate);
    EXPECT_LT(want.steps.back().loss, want.steps.front().loss);
  }
}

TEST_P(GpuSteps, ExactStepsHaveTheSameBitsOnAnyPlan) {
  Recipe recipe = gpu_recipe(ModelFamily::kLlama, Reduction::kExact);
  recipe.steps = 2;
  Trained alone, together;
  {
    pretend::PretendNode node(1, GetParam());
    alone = train(recipe, plan_from_borders({{0, 4}}, {4}), {true});
  }
  {
    pretend::PretendNode node(4, GetParam() + 100);
    together = train(recipe, two_by_two(), {true, true, true, true});
  }
  ASSERT_EQ(alone.steps.size(), together.steps.size());
  for (size_t s = 0; s < alone.steps.size(); ++s) {
    EXPECT_EQ(alone.steps[s].loss, together.steps[s].loss) << s;
    EXPECT_EQ(alone.steps[s].grad_norm, together.steps[s].grad_norm) << s;
  }
  EXPECT_EQ(alone.weights, together.weights);
}

TEST_P(GpuSteps, GpusAndCpusShareAPipelineInTypesOfTheirOwn) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  const Trained want = train(recipe, two_by_two(), {false, false, false, false});
  recipe.numerics.substitutes = {DType::kBF16, DType::kF16};
  Plan plan = two_by_two();
  plan.replicas[0].stages[0].compute = DType::kBF16;
  plan.replicas[1].stages[1].compute = DType::kF16;
  pretend::PretendNode node(4, GetParam());
  const Trained got = train(recipe, plan, {true, false, false, true});
  expect_near(got, want, 5e-3);
}

TEST_P(GpuSteps, ShardsOfTheOptimizerAreGathered) {
  const Recipe recipe = gpu_recipe(ModelFamily::kLlama, Reduction::kExact);
  Plan plan = plan_from_borders({{0, 4}, {0, 4}}, {3, 1});
  Trained whole, sharded;
  {
    pretend::PretendNode node(2, GetParam());
    whole = train(recipe, plan, {true, true});
  }
  plan.shard_optimizer = true;
  {
    pretend::PretendNode node(2, GetParam() + 100);
    sharded = train(recipe, plan, {true, true});
  }
  EXPECT_EQ(whole.weights, sharded.weights);
}

TEST_P(GpuSteps, AnOverflowInF16IsRepeatedWithASmallerScale) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  const Plan in_f32 = plan_from_borders({{0, 2, 4}}, {4});
  const Trained want = train(recipe, in_f32, {false, false});
  recipe.numerics.substitutes = {DType::kF16};
  Plan plan = in_f32;
  plan.replicas[0].stages[0].compute = plan.replicas[0].stages[1].compute = DType::kF16;
  pretend::PretendNode node(2, GetParam());
  const Trained got = train(recipe, plan, {true, true}, [](Step& step) {
    step.gradient_scales().resume(
        R"({"replica 0 layers 0-1": [20, 0], "replica 0 layers 2-3": [20, 0]})");
  });
  EXPECT_GT(got.steps.front().repeats, 0);
  expect_near(got, want, 5e-3);
}

TEST_P(GpuSteps, AFailedGpuEndsAllRanks) {
  Recipe recipe = gpu_recipe(ModelFamily::kGpt2, Reduction::kFast);
  recipe.steps = 3;
  pretend::PretendNode node(4, GetParam());
  node.gpu(2).fail_at(400 + static_cast<int64_t>(GetParam()), cudaErrorECCUncorrectable);
  EXPECT_THROW(train(recipe, two_by_two(), {true, true, true, true}), DeviceError);
  EXPECT_THAT(node.gpu(2).complaint(), testing::HasSubstr("cudaErrorECCUncorrectable"));
}

INSTANTIATE_TEST_SUITE_P(Seeds, GpuSteps, testing::Values(1));

}  // namespace
}  // namespace kente
