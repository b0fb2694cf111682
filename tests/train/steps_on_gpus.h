#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "csrc/config/model_layout.h"
#include "csrc/plan/shards.h"
#include "csrc/train/environment.h"
#include "csrc/train/rank_device.h"
#include "csrc/train/step.h"
#include "tests/support/on_threads.h"
#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_threads.h"

namespace kente {

struct Trained {
  std::vector<StepReport> steps;
  std::map<int, std::vector<float>> weights;  // by group, of the lowest rank that holds it
};

/// gpus: which ranks have one.
inline Trained train_steps(const Recipe& recipe, const Plan& plan, const std::vector<bool>& gpus,
                           const std::function<void(Step&)>& prepare = {},
                           TransportChoice transport = TransportChoice::kAuto) {
  Trained trained;
  std::mutex mutex;
  on_threads(static_cast<int>(gpus.size()), [&](Communicator& world) {
    const int rank = world.rank();
    RankDevice device(
        world, "node",
        {.device = gpus[static_cast<size_t>(rank)] ? DeviceChoice::kGpu : DeviceChoice::kCpu,
         .transport = transport},
        recipe.model);
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
inline Plan two_by_two() { return plan_from_borders({{0, 2, 4}, {0, 3, 4}}, {3, 1}); }

inline void expect_near(const Trained& got, const Trained& want, double tolerance) {
  ASSERT_EQ(got.steps.size(), want.steps.size());
  for (size_t s = 0; s < want.steps.size(); ++s) {
    EXPECT_EQ(got.steps[s].tokens, want.steps[s].tokens);
    EXPECT_NEAR(got.steps[s].loss, want.steps[s].loss, tolerance * want.steps[s].loss) << s;
    EXPECT_NEAR(got.steps[s].grad_norm, want.steps[s].grad_norm,
                10 * tolerance * want.steps[s].grad_norm)
        << s;
  }
}

}  // namespace kente
