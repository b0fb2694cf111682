#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "csrc/train/environment.h"
#include "csrc/train/step.h"
#include "tests/support/on_threads.h"

namespace kente {

/// A micro-batch with something to learn: each token follows from the one before. Every fifth
/// target does not count.
inline MicroBatch made_up_batch(const Recipe& recipe, int64_t step, const MeshMicroBatch& at) {
  MicroBatch batch = MicroBatch::zeros(at.grains, recipe.sequence_length);
  for (int64_t i = 0; i < at.grains * recipe.sequence_length; ++i) {
    const int64_t token = at.first_grain * recipe.sequence_length + i;
    const auto value = static_cast<int32_t>((7 * token + 13 * step) % recipe.model.vocab_size);
    batch.plane(MicroBatch::kTokens)[i] = value;
    batch.plane(MicroBatch::kTargets)[i] =
        static_cast<int32_t>((value + 7) % recipe.model.vocab_size);
    batch.plane(MicroBatch::kLossMask)[i] = token % 5 == 0 ? 0 : 1;
    batch.plane(MicroBatch::kPositions)[i] = static_cast<int32_t>(i % recipe.sequence_length);
  }
  return batch;
}

/// Bare steps, without files, data or a trainer around them.
struct StepsOnThreads {
  Recipe recipe;
  Plan plan;
  int ranks = 1;
  int64_t steps = 0;
  /// On every rank before the first step: fills the weights.
  std::function<void(Parameters&, Step&)> prepare;
  std::function<MicroBatch(int64_t step, const MeshMicroBatch&)> batch;  // steps from 1
  std::function<void(const Step&)> after = {};  // the last step, on rank 0; may be empty
};

/// One thread a rank; what rank 0 reports.
inline std::vector<StepReport> run_steps(const StepsOnThreads& run) {
  std::vector<StepReport> reports;
  on_threads(run.ranks, [&](Communicator& world) {
    const int rank = world.rank();
    const Mesh mesh = make_mesh(run.recipe, run.plan, run.ranks);
    Parameters parameters(run.recipe.model, mesh.layers_of(rank),
                          compute_dtype(run.plan, mesh, rank));
    AdamW optimizer(run.recipe.optimizer, parameters);
    Step step(run.recipe, run.plan, mesh, world, parameters, optimizer, 60);
    run.prepare(parameters, step);
    for (int64_t s = 1; s <= run.steps; ++s) {
      std::vector<MicroBatch> batches;
      if (mesh.reads_data(rank))
        for (const MeshMicroBatch& m :
             mesh.replicas[static_cast<size_t>(mesh.replica_of(rank))].micro_batches)
          batches.push_back(run.batch(s, m));
      const StepReport report = step.run(s, std::move(batches), {});
      if (rank == 0) reports.push_back(report);
    }
    if (rank == 0 && run.after) run.after(step);
  });
  return reports;
}

}  // namespace kente
