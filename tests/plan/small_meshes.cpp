#include "tests/plan/small_meshes.h"

#include <algorithm>

#include "csrc/base/rng.h"
#include "tests/support/small_recipes.h"

namespace kente {

Recipe recipe_with(int blocks, int64_t grains, bool tied) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.model.num_hidden_layers = blocks;
  recipe.model.tie_word_embeddings = tied;
  recipe.global_batch_tokens = grains * recipe.sequence_length * recipe.grain_samples;
  return recipe;
}

std::vector<int> uneven_borders(int num_layers, int stages, int seed) {
  std::vector<int> inner;
  for (int layer = 1; layer < num_layers; ++layer) inner.push_back(layer);
  std::vector<int> borders = {0, num_layers};
  for (uint64_t i = 0; static_cast<int>(borders.size()) <= stages; ++i) {
    const size_t pick =
        random_bits(static_cast<uint64_t>(seed), RngUse::kTest, 0, i) % inner.size();
    borders.push_back(inner[pick]);
    inner.erase(inner.begin() + static_cast<std::ptrdiff_t>(pick));
  }
  std::sort(borders.begin(), borders.end());
  return borders;
}

Plan interleaved_plan(int num_layers, int ranks, int chunks, int64_t share) {
  ReplicaPlan replica;
  replica.share = share;
  replica.stages.resize(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) replica.stages[static_cast<size_t>(rank)].ranks = {rank};
  for (int chunk = 0; chunk < chunks; ++chunk)
    replica.stages[static_cast<size_t>(chunk % ranks)].layers.push_back(
        {.first = chunk * num_layers / chunks, .last = (chunk + 1) * num_layers / chunks - 1});
  Plan plan;
  plan.schedule = ScheduleKind::kGPipe;
  plan.replicas.push_back(replica);
  return plan;
}

Mesh pipeline(int stages, int micro_batches) {
  const Recipe recipe = recipe_with(stages + 2, micro_batches, true);
  const Plan plan =
      plan_from_borders({uneven_borders(recipe.model.num_layers(), stages, 1)}, {micro_batches});
  return make_mesh(recipe, plan, stages);
}

Mesh sharded(Mesh mesh) {
  mesh.shard_optimizer = true;
  for (Bucket& bucket : mesh.buckets)
    for (const int holder : bucket.holders) bucket.optimizer_weights.push_back(holder % 3);
  return mesh;
}

ActionCosts uniform_costs(double f, double bi, double bw) {
  ActionCosts costs;
  costs.seconds = [=](int, const Action& action) {
    switch (action.kind) {
      case ActionKind::kForward:
        return f;
      case ActionKind::kBackwardInput:
        return bi;
      case ActionKind::kBackwardWeight:
        return bw;
      default:
        return 0.0;
    }
  };
  return costs;
}

void for_small_meshes(const std::function<void(const Mesh&, const std::string& name)>& check) {
  for (int replicas = 1; replicas <= 3; ++replicas) {
    for (int stages = 1; stages <= 5; ++stages) {
      for (int64_t share = 1; share <= 9; ++share) {
        for (int variant = 0; variant < 4; ++variant) {
          const bool tied = variant % 2 == 0;
          const int spares = variant / 2;
          std::vector<std::vector<int>> borders;
          std::vector<int64_t> shares;
          int ranks = spares;
          int64_t grains = 0;
          for (int r = 0; r < replicas; ++r) {
            const int length = (stages + 2 * r - 1) % 5 + 1;
            borders.push_back(uneven_borders(7, length, 10 * r + variant));
            shares.push_back((share + int64_t{3} * r - 1) % 9 + 1);
            ranks += length;
            grains += shares.back();
          }
          const Plan plan = plan_from_borders(borders, shares);
          check(make_mesh(recipe_with(5, grains, tied), plan, ranks),
                std::to_string(replicas) + " replicas, " + std::to_string(stages) + " stages, " +
                    std::to_string(share) + " micro-batches, " + (tied ? "tied" : "untied") + ", " +
                    std::to_string(spares) + " spares");
        }
      }
    }
  }
}

}  // namespace kente
