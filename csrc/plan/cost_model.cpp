#include "csrc/plan/cost_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "csrc/base/errors.h"
#include "csrc/base/micro_batch.h"
#include "csrc/plan/shards.h"

namespace kente {
namespace {

/// Compute passes, as columns of a table.
constexpr size_t kPasses = 4;

size_t column_of(ActionKind pass) {
  switch (pass) {
    case ActionKind::kForward:
      return 0;
    case ActionKind::kLoss:
      return 1;
    case ActionKind::kBackwardInput:
      return 2;
    case ActionKind::kBackwardWeight:
      return 3;
    default:
      throw InternalError("not a compute pass: " + std::to_string(static_cast<int>(pass)));
  }
}

double pass_of(const LayerSeconds& at, ActionKind pass) {
  return std::array{at.forward, at.loss, at.backward_input, at.backward_weight}[column_of(pass)];
}

double interpolate(const LayerCurve& curve, ActionKind pass, int64_t grains) {
  const std::vector<LayerSeconds>& at = curve.at;
  const double x = static_cast<double>(grains);
  const auto x_at = [&](size_t i) { return static_cast<double>(at[i].grains); };
  if (at.size() == 1 || grains <= at.front().grains) return pass_of(at.front(), pass) * x / x_at(0);
  size_t upper = 1;
  while (upper + 1 < at.size() && at[upper].grains < grains) ++upper;
  const double low = pass_of(at[upper - 1], pass);
  const double high = pass_of(at[upper], pass);
  const double along = (x - x_at(upper - 1)) / (x_at(upper) - x_at(upper - 1));
  // Noise can make a bigger micro-batch look cheaper; going on downwards would reach zero.
  return std::max(low + (high - low) * along, std::min(low, high));
}

/// What a rank's compute actions cost: by (chunk, grains of the micro-batch), summed over layers.
class ComputeTable {
 public:
  ComputeTable(const CostModel& model, const Plan& plan, const Mesh& mesh) {
    by_rank_.resize(static_cast<size_t>(mesh.num_ranks));
    for (size_t r = 0; r < mesh.replicas.size(); ++r) {
      const MeshReplica& replica = mesh.replicas[r];
      std::vector<int64_t> sizes;
      for (const MeshMicroBatch& batch : replica.micro_batches)
        if (std::find(sizes.begin(), sizes.end(), batch.grains) == sizes.end())
          sizes.push_back(batch.grains);
      for (size_t c = 0; c < replica.chunks.size(); ++c) {
        const MeshChunk& chunk = replica.chunks[c];
        const StagePlan& stage = plan.replicas[r].stages[static_cast<size_t>(chunk.stage)];
        Rank& rank = by_rank_[static_cast<size_t>(chunk.rank)];
        rank.replica = static_cast<int>(r);
        for (const int64_t grains : sizes)
          rank.rows.push_back(row(model, chunk, stage, static_cast<int>(c), grains));
      }
    }
  }

  int replica_of(int rank) const { return by_rank_[static_cast<size_t>(rank)].replica; }

  double seconds(int rank, int chunk, int64_t grains, ActionKind pass) const {
    for (const Row& row : by_rank_[static_cast<size_t>(rank)].rows)
      if (row.chunk == chunk && row.grains == grains) return row.seconds[column_of(pass)];
    throw InternalError(fmt::format("rank {} has no chunk {} for {} grains", rank, chunk, grains));
  }

 private:
  struct Row {
    int chunk = 0;
    int64_t grains = 0;
    std::array<double, kPasses> seconds{};
  };
  struct Rank {
    int replica = -1;
    std::vector<Row> rows;
  };

  static Row row(const CostModel& model, const MeshChunk& chunk, const StagePlan& stage, int index,
                 int64_t grains) {
    Row out{.chunk = index, .grains = grains};
    const int device = model.ranks().device_of(chunk.rank);
    const int head = model.recipe().model.num_layers() - 1;
    for (const ActionKind pass : {ActionKind::kForward, ActionKind::kLoss,
                                  ActionKind::kBackwardInput, ActionKind::kBackwardWeight})
      for (int layer = chunk.layers.first; layer <= chunk.layers.last; ++layer)
        if (pass != ActionKind::kLoss || layer == head)
          out.seconds[column_of(pass)] +=
              model.layer_seconds(device, layer, stage.compute, pass, grains, stage.recompute);
    return out;
  }

  std::vector<Rank> by_rank_;
};

int64_t parameters_held(const std::vector<ParamGroup>& groups, const Mesh& mesh, int rank) {
  int64_t count = 0;
  for (const Bucket& bucket : mesh.buckets)
    if (std::binary_search(bucket.holders.begin(), bucket.holders.end(), rank))
      for (const int group : bucket.groups) count += groups[static_cast<size_t>(group)].size;
  return count;
}

/// Parameters that cost a rank as much as its optimizer does. AdamW moves 28 of 36 bytes of each:
/// only of its shard; zeroing and norm 4 each, of all that it holds.
int64_t parameters_updated(const std::vector<ParamGroup>& groups, const Mesh& mesh, int rank) {
  const int64_t held = parameters_held(groups, mesh, rank);
  if (!mesh.shard_optimizer) return held;
  int64_t own = 0;
  for (const ElementRange& shard : optimizer_shards_of(rank, mesh, groups)) own += shard.size();
  return (28 * own + 8 * held) / 36;
}

}  // namespace

std::vector<int> PlanCost::overfull() const {
  std::vector<int> found;
  for (size_t rank = 0; rank < memory.size(); ++rank)
    if (memory[rank].total() > free_bytes[rank]) found.push_back(static_cast<int>(rank));
  return found;
}

CostModel::CostModel(const Recipe& recipe, const ClusterProfile& cluster, int state_copies)
    : recipe_(recipe),
      cluster_(cluster),
      state_copies_(state_copies),
      ranks_(cluster),
      layout_(model_layout(recipe.model)) {
  const int devices = static_cast<int>(cluster.devices.size());
  for (int device = 0; device < devices; ++device) {
    double most = -1;
    for (const DType dtype : recipe.numerics.allowed()) {
      if (!cluster.devices[static_cast<size_t>(device)].curve(LayerKind::kBlock, dtype)) continue;
      const double speed = alone_grains_per_second(device, dtype);
      if (most < 0) computes_.push_back(dtype);
      if (speed > most) computes_.back() = dtype;
      most = std::max(most, speed);
    }
    KENTE_CHECK(most >= 0, cluster.devices[static_cast<size_t>(device)].id);
  }
  for (int a = 0; a < devices; ++a)
    for (int b = 0; b < devices; ++b) {
      std::vector<LinkProfile>& pair = links_.emplace_back();
      for (const bool same_node : {false, true}) {
        const LinkProfile* found = find_link(cluster, a, b, same_node);
        pair.push_back(found ? *found : LinkProfile{});
      }
    }
}

const LinkProfile& CostModel::link(int from, int to) const {
  const auto devices = static_cast<size_t>(cluster_.devices.size());
  const auto a = static_cast<size_t>(ranks_.device_of(from));
  const auto b = static_cast<size_t>(ranks_.device_of(to));
  const bool same_node = ranks_.node_of(from) == ranks_.node_of(to);
  return links_[a * devices + b][same_node ? 1 : 0];
}

double CostModel::layer_seconds(int device, int layer, DType compute, ActionKind pass,
                                int64_t grains, Recompute recompute) const {
  const LayerKind kind = layer_kind(layer, recipe_.model.num_layers());
  const LayerCurve* curve = cluster_.devices.at(static_cast<size_t>(device)).curve(kind, compute);
  if (!curve)
    throw UsageError("device " + cluster_.devices[static_cast<size_t>(device)].id +
                     " was not measured in " + std::string(name_of(compute)) +
                     ", in which the plan has it compute; run kente bench with this recipe");
  double seconds = interpolate(*curve, pass, grains);
  if (pass == ActionKind::kBackwardInput && recompute == Recompute::kFull &&
      kind == LayerKind::kBlock)
    seconds += interpolate(*curve, ActionKind::kForward, grains);
  return seconds;
}

double CostModel::transfer_seconds(int from, int to, int64_t bytes) const {
  const LinkProfile& l = link(from, to);
  const bool busy = l.busy_bytes_per_second > 0;
  return (busy ? l.busy_latency_seconds : l.latency_seconds) +
         static_cast<double>(bytes) / (busy ? l.busy_bytes_per_second : l.bytes_per_second);
}

int64_t CostModel::message_bytes(ActionKind send, int64_t grains) const {
  const int64_t tokens = grains * recipe_.grain_samples * recipe_.sequence_length;
  const int64_t fields = MicroBatch::kFields * size_of(DType::kI32);
  return tokens * (recipe_.model.hidden_size * size_of(recipe_.numerics.boundary) +
                   (send == ActionKind::kSendActivation ? fields : 0));
}

CostModel::Ring CostModel::ring(const std::vector<int>& holders) const {
  Ring ring{.ranks = static_cast<int64_t>(holders.size()), .bytes_per_second = INFINITY};
  if (holders.size() < 2) return ring;
  for (size_t i = 0; i < holders.size(); ++i) {
    const LinkProfile& l = link(holders[i], holders[i + 1 < holders.size() ? i + 1 : 0]);
    const double rate =
        l.reduce_bytes_per_second > 0 ? l.reduce_bytes_per_second : l.bytes_per_second;
    ring.bytes_per_second = std::min(ring.bytes_per_second, rate);
    ring.latency_seconds = std::max(ring.latency_seconds, l.latency_seconds);
  }
  return ring;
}

double CostModel::reduce_seconds(const Ring& ring, int64_t bytes) const {
  if (ring.ranks < 2) return 0;
  const auto count = static_cast<double>(ring.ranks);
  return 2 * (count - 1) *
         (ring.latency_seconds + static_cast<double>(bytes) / count / ring.bytes_per_second);
}

int64_t CostModel::gradient_bytes() const {
  return recipe_.numerics.reduction == Reduction::kExact ? 8 : 4;
}

double CostModel::gather_seconds(const Ring& ring, int64_t bytes) const {
  return reduce_seconds(ring, bytes) / 2;
}

double CostModel::optimizer_seconds(int device, int64_t parameters) const {
  return static_cast<double>(parameters) *
         cluster_.devices.at(static_cast<size_t>(device)).optimizer_seconds_per_parameter;
}

double CostModel::alone_grains_per_second(int device) const {
  return alone_grains_per_second(device, compute_of(device));
}

double CostModel::alone_grains_per_second(int device, DType compute) const {
  const LayerCurve* blocks =
      cluster_.devices.at(static_cast<size_t>(device)).curve(LayerKind::kBlock, compute);
  double best = 0;
  int64_t parameters = 0;
  for (const ParamGroup& group : layout_) parameters += group.size;
  const double optimizer = optimizer_seconds(device, parameters);
  const auto grains_per_step = static_cast<double>(recipe_.grains_per_step());
  for (const LayerSeconds& at : blocks->at) {
    if (recipe_.numerics.reduction == Reduction::kExact && at.grains != 1) continue;
    double seconds = 0;
    for (int layer = 0; layer < recipe_.model.num_layers(); ++layer)
      for (const ActionKind pass : {ActionKind::kForward, ActionKind::kLoss,
                                    ActionKind::kBackwardInput, ActionKind::kBackwardWeight})
        seconds += layer_seconds(device, layer, compute, pass, at.grains);
    const double step = seconds * grains_per_step / static_cast<double>(at.grains) + optimizer;
    best = std::max(best, grains_per_step / step);
  }
  return best;
}

ActionCosts CostModel::costs(const Plan& plan, const Mesh& mesh) const {
  const auto table = std::make_shared<ComputeTable>(*this, plan, mesh);
  const auto reduce = std::make_shared<std::vector<double>>();
  const auto gather = std::make_shared<std::vector<double>>();
  for (const Bucket& bucket : mesh.buckets) {
    const Ring around = ring(bucket.holders);
    double reducing = 0, gathering = 0;
    for (const int group : bucket.groups) {
      const int64_t size = layout_[static_cast<size_t>(group)].size;
      reducing += reduce_seconds(around, gradient_bytes() * size);
      gathering += gather_seconds(around, size_of(DType::kF32) * size);
    }
    reduce->push_back(reducing);
    gather->push_back(gathering);
  }
  const auto optimizer = std::make_shared<std::vector<double>>();
  for (int rank = 0; rank < mesh.num_ranks; ++rank)
    optimizer->push_back(
        optimizer_seconds(ranks_.device_of(rank), parameters_updated(layout_, mesh, rank)));

  const auto grains_of = [table, &mesh](int rank, const Action& action) {
    const auto replica = static_cast<size_t>(table->replica_of(rank));
    return mesh.replicas[replica].micro_batches[static_cast<size_t>(action.micro_batch)].grains;
  };
  ActionCosts costs;
  costs.seconds = [table, reduce, gather, optimizer, grains_of](int rank, const Action& action) {
    if (action.kind == ActionKind::kReduceBucket)
      return (*reduce)[static_cast<size_t>(action.bucket)];
    if (action.kind == ActionKind::kGatherParameters)
      return (*gather)[static_cast<size_t>(action.bucket)];
    if (action.kind == ActionKind::kStep) return (*optimizer)[static_cast<size_t>(rank)];
    return table->seconds(rank, action.chunk, grains_of(rank, action), action.kind);
  };
  costs.transfer_seconds = [this, grains_of](int from, int to, const Action& action) {
    return transfer_seconds(from, to, message_bytes(action.kind, grains_of(from, action)));
  };
  return costs;
}

}  // namespace kente
