#include "csrc/plan/shard_choice.h"

#include <algorithm>

namespace kente {
namespace {

/// A weight stands for so many bytes of free memory: finer than anybody needs, and far from the
/// largest weight a plan may hold.
constexpr double kBytesPerWeight = 1 << 20;
constexpr double kMostWeight = 1 << 30;
/// A rank holds layers with different partners, so proportion alone may not do: those that are
/// still short give up a tenth and all are looked at again.
constexpr int kRounds = 20;
constexpr double kGiveUp = 0.9;

int64_t weight_of(double free_bytes) {
  return static_cast<int64_t>(std::clamp(free_bytes / kBytesPerWeight, 0.0, kMostWeight));
}

bool has_shared_layers(const Mesh& mesh) {
  return std::any_of(mesh.buckets.begin(), mesh.buckets.end(),
                     [](const Bucket& bucket) { return bucket.holders.size() > 1; });
}

}  // namespace

std::optional<Plan> shard_by_free_memory(const CostModel& model, const Plan& plan,
                                         double memory_use) {
  const int ranks = model.ranks().num_ranks();
  const Mesh unsharded = make_mesh(model.recipe(), plan, ranks, model.layout());
  if (!has_shared_layers(unsharded)) return std::nullopt;
  const auto limit_of = [&](int rank) {
    const auto device = static_cast<size_t>(model.ranks().device_of(rank));
    return memory_use * static_cast<double>(model.cluster().devices[device].memory_bytes);
  };
  Plan sharded = plan;
  sharded.shard_optimizer = true;
  const std::vector<MemoryPrediction> whole =
      predict_memory(model.recipe(), plan, unsharded, model.state_copies());
  for (ReplicaPlan& replica : sharded.replicas)
    for (StagePlan& stage : replica.stages) {
      const int rank = stage.ranks.front();
      const MemoryPrediction& memory = whole[static_cast<size_t>(rank)];
      const double rest = static_cast<double>(memory.total() - memory.optimizer);
      if (rest > limit_of(rank)) return std::nullopt;
      stage.optimizer_weight = std::max<int64_t>(1, weight_of(limit_of(rank) - rest));
    }
  for (int round = 0; round < kRounds; ++round) {
    const Mesh mesh = make_mesh(model.recipe(), sharded, ranks, model.layout());
    const std::vector<MemoryPrediction> memory =
        predict_memory(model.recipe(), sharded, mesh, model.state_copies());
    bool fits = true;
    for (ReplicaPlan& replica : sharded.replicas)
      for (StagePlan& stage : replica.stages) {
        const int rank = stage.ranks.front();
        if (static_cast<double>(memory[static_cast<size_t>(rank)].total()) <= limit_of(rank))
          continue;
        fits = false;
        stage.optimizer_weight =
            static_cast<int64_t>(static_cast<double>(stage.optimizer_weight) * kGiveUp);
      }
    if (fits) return sharded;
  }
  return std::nullopt;
}

}  // namespace kente
