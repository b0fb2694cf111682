#include "csrc/plan/mesh.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "csrc/base/errors.h"

namespace kente {
namespace {

std::string place(size_t replica, size_t stage) {
  return "plan: replica " + std::to_string(replica) + ", stage " + std::to_string(stage);
}

/// Checks one stage's ranks and returns its only one.
int rank_of(const StagePlan& stage, const std::string& where, std::vector<bool>& used) {
  if (stage.ranks.size() != 1)
    throw UsageError(where + " names " + std::to_string(stage.ranks.size()) + " ranks, want one");
  const int rank = stage.ranks.front();
  const int num_ranks = static_cast<int>(used.size());
  if (rank < 0 || rank >= num_ranks)
    throw UsageError(where + " names rank " + std::to_string(rank) + ", but there are " +
                     std::to_string(num_ranks) + ": start more ranks, or change the plan");
  if (used[static_cast<size_t>(rank)])
    throw UsageError(where + " names rank " + std::to_string(rank) + ", which has a stage already");
  used[static_cast<size_t>(rank)] = true;
  return rank;
}

/// The replica's ranges in layer order; neighbours on one rank become one chunk.
std::vector<MeshChunk> chunks_in_order(std::vector<MeshChunk> ranges, int num_layers,
                                       size_t replica) {
  std::sort(ranges.begin(), ranges.end(),
            [](const MeshChunk& a, const MeshChunk& b) { return a.layers.first < b.layers.first; });
  std::vector<MeshChunk> chunks;
  int next = 0;
  for (const MeshChunk& range : ranges) {
    if (range.layers.first != next || range.layers.last < range.layers.first)
      throw UsageError("plan: replica " + std::to_string(replica) + ": layers " +
                       std::to_string(range.layers.first) + " to " +
                       std::to_string(range.layers.last) + " follow layer " +
                       std::to_string(next - 1) + "; each layer belongs to exactly one stage");
    next = range.layers.last + 1;
    if (!chunks.empty() && chunks.back().rank == range.rank) {
      chunks.back().layers.last = range.layers.last;
    } else {
      chunks.push_back(range);
    }
  }
  if (next != num_layers)
    throw UsageError("plan: replica " + std::to_string(replica) + " ends with layer " +
                     std::to_string(next - 1) + ", the model with layer " +
                     std::to_string(num_layers - 1) + ", the head");
  return chunks;
}

PassTimes times_of(const MeshChunk& chunk, const StagePlan& stage) {
  if (stage.times != PassTimes()) return stage.times;
  const int64_t layers = chunk.layers.last - chunk.layers.first + 1;
  return {.forward = layers, .backward_input = layers, .backward_weight = layers, .message = 0};
}

std::vector<MeshMicroBatch> cut_share(int64_t first_grain, const ReplicaPlan& replica,
                                      size_t index) {
  if (replica.share < 1 || replica.grains_per_micro_batch < 1)
    throw UsageError("plan: replica " + std::to_string(index) + " has a share of " +
                     std::to_string(replica.share) + " grains in micro-batches of " +
                     std::to_string(replica.grains_per_micro_batch) + "; want at least 1 of each");
  std::vector<MeshMicroBatch> batches;
  for (int64_t done = 0; done < replica.share; done += replica.grains_per_micro_batch)
    batches.push_back({.first_grain = first_grain + done,
                       .grains = std::min(replica.grains_per_micro_batch, replica.share - done)});
  return batches;
}

bool touches(const MeshChunk& chunk, const std::vector<int>& layers) {
  return std::any_of(layers.begin(), layers.end(), [&](int layer) {
    return chunk.layers.first <= layer && layer <= chunk.layers.last;
  });
}

std::vector<int> holders_of(const std::vector<MeshReplica>& replicas,
                            const std::vector<int>& layers) {
  std::vector<int> holders;
  for (const MeshReplica& replica : replicas)
    for (const MeshChunk& chunk : replica.chunks)
      if (touches(chunk, layers)) holders.push_back(chunk.rank);
  std::sort(holders.begin(), holders.end());
  holders.erase(std::unique(holders.begin(), holders.end()), holders.end());
  return holders;
}

std::vector<Bucket> make_buckets(const std::vector<ParamGroup>& layout, int num_layers,
                                 const std::vector<MeshReplica>& replicas) {
  // The tied group, the last, is complete only after the embedding's backward: it stays at the end.
  std::vector<int> order(layout.size());
  std::iota(order.begin(), order.end(), 0);
  std::reverse(order.begin(), order.begin() + num_layers);
  std::vector<Bucket> buckets;
  for (const int index : order) {
    const ParamGroup& group = layout[static_cast<size_t>(index)];
    if (group.size == 0) continue;
    std::vector<int> holders = holders_of(replicas, group.layers);
    if (buckets.empty() || buckets.back().holders != holders)
      buckets.push_back({.groups = {}, .holders = std::move(holders), .optimizer_weights = {}});
    buckets.back().groups.push_back(group.index);
  }
  return buckets;
}

/// Every holder's weight in the sharding of the optimizer state.
void weigh_holders(const Plan& plan, std::vector<Bucket>& buckets) {
  std::map<int, int64_t> weight_of_rank;
  for (const ReplicaPlan& replica : plan.replicas)
    for (const StagePlan& stage : replica.stages)
      weight_of_rank[stage.ranks.front()] = stage.optimizer_weight;
  for (Bucket& bucket : buckets)
    for (const int holder : bucket.holders)
      bucket.optimizer_weights.push_back(weight_of_rank.at(holder));
}

}  // namespace

void Mesh::index_ranks() {
  places.assign(static_cast<size_t>(num_ranks), {});
  for (size_t r = 0; r < replicas.size(); ++r)
    for (size_t c = 0; c < replicas[r].chunks.size(); ++c) {
      Place& place = places[static_cast<size_t>(replicas[r].chunks[c].rank)];
      place.replica = static_cast<int>(r);
      place.chunks.push_back(static_cast<int>(c));
    }
}

int Mesh::replica_of(int rank) const {
  const auto index = static_cast<size_t>(rank);
  return index < places.size() ? places[index].replica : -1;
}

const std::vector<int>& Mesh::chunks_of(int rank) const {
  return places.at(static_cast<size_t>(rank)).chunks;
}

std::vector<int> Mesh::layers_of(int rank) const {
  std::vector<int> layers;
  const int replica = replica_of(rank);
  for (const int chunk : chunks_of(rank)) {
    const LayerRange& range =
        replicas[static_cast<size_t>(replica)].chunks[static_cast<size_t>(chunk)].layers;
    for (int layer = range.first; layer <= range.last; ++layer) layers.push_back(layer);
  }
  return layers;
}

bool Mesh::reads_data(int rank) const {
  const int replica = replica_of(rank);
  return replica >= 0 && replicas[static_cast<size_t>(replica)].chunks.front().rank == rank;
}

Mesh make_mesh(const Recipe& recipe, const Plan& plan, int num_ranks) {
  return make_mesh(recipe, plan, num_ranks, model_layout(recipe.model));
}

Mesh make_mesh(const Recipe& recipe, const Plan& plan, int num_ranks,
               const std::vector<ParamGroup>& layout) {
  if (plan.replicas.empty()) throw UsageError("plan: no replica; want at least one");
  Mesh mesh;
  mesh.num_ranks = num_ranks;
  std::vector<bool> used(static_cast<size_t>(num_ranks), false);
  int64_t grains = 0;
  for (size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaPlan& planned = plan.replicas[r];
    std::vector<MeshChunk> ranges;
    for (size_t s = 0; s < planned.stages.size(); ++s) {
      const StagePlan& stage = planned.stages[s];
      const int rank = rank_of(stage, place(r, s), used);
      if (stage.layers.empty())
        throw UsageError(place(r, s) + " holds no layers: leave its rank out to make it a spare");
      for (const LayerRange& layers : stage.layers)
        ranges.push_back({.layers = layers, .rank = rank, .stage = static_cast<int>(s)});
    }
    MeshReplica replica;
    replica.chunks = chunks_in_order(std::move(ranges), recipe.model.num_layers(), r);
    for (MeshChunk& chunk : replica.chunks)
      chunk.times = times_of(chunk, planned.stages[static_cast<size_t>(chunk.stage)]);
    replica.micro_batches = cut_share(grains, planned, r);
    replica.under_way = planned.under_way;
    if (replica.under_way == 0) replica.under_way = static_cast<int64_t>(replica.chunks.size());
    grains += planned.share;
    mesh.replicas.push_back(std::move(replica));
  }
  if (grains != recipe.grains_per_step())
    throw UsageError("plan: the shares add up to " + std::to_string(grains) +
                     " grains, the recipe's step has " + std::to_string(recipe.grains_per_step()));
  mesh.index_ranks();
  mesh.buckets = make_buckets(layout, recipe.model.num_layers(), mesh.replicas);
  mesh.shard_optimizer = plan.shard_optimizer;
  if (plan.shard_optimizer) weigh_holders(plan, mesh.buckets);
  return mesh;
}

}  // namespace kente
