#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "csrc/config/cluster.h"
#include "csrc/plan/memory.h"
#include "csrc/plan/mesh.h"
#include "csrc/plan/simulate.h"

namespace kente {

/// Seconds one rank spends in one step. wait is what is left of the step.
struct PhaseSeconds {
  double forward = 0;  // with the loss
  double backward_input = 0;
  double backward_weight = 0;
  double reduce = 0;     // gradients, and parameters gathered
  double optimizer = 0;  // zeroing, norm, AdamW
  double wait = 0;       // for neighbours and for the slowest

  double compute() const { return forward + backward_input + backward_weight; }
  double busy() const { return compute() + reduce + optimizer; }
};

/// What a plan is expected to cost on a cluster.
struct PlanCost {
  double step_seconds = 0;
  double bubble = 0;                // mean over the plan's ranks: wait / step
  std::vector<PhaseSeconds> ranks;  // all zero but for wait on spares
  std::vector<MemoryPrediction> memory;
  std::vector<int64_t> free_bytes;  // per rank: what the profile says it has
  std::optional<double> joules;     // a step; empty where a used device has no watts
  std::optional<double> price;      // a step; empty where a used device has no price
  std::string bottleneck;           // one line for people
  std::vector<TimelineEntry> timeline;

  /// Ranks whose predicted peak is beyond what they have free, ascending.
  std::vector<int> overfull() const;
};

/// Time and memory of any plan from the profile alone: layer times interpolated over micro-batch
/// sizes, links as t = a + n/b, the whole put together by the event simulator.
class CostModel {
 public:
  /// recipe and cluster must outlive it. The cluster was parsed for this recipe. state_copies: how
  /// often snapshots keep the state in memory, see csrc/plan/memory.h.
  CostModel(const Recipe& recipe, const ClusterProfile& cluster, int state_copies = 0);

  const Recipe& recipe() const { return recipe_; }
  const ClusterProfile& cluster() const { return cluster_; }
  const RankTable& ranks() const { return ranks_; }
  int state_copies() const { return state_copies_; }
  /// The model's parameter groups, as model_layout lists them.
  const std::vector<ParamGroup>& layout() const { return layout_; }

  /// In which of the types that the recipe allows a device trains the whole model fastest; the
  /// recipe's own where two are alike. Plans compute in it.
  DType compute_of(int device) const { return computes_.at(static_cast<size_t>(device)); }
  DType compute_of_rank(int rank) const { return compute_of(ranks_.device_of(rank)); }

  /// One layer for one micro-batch; grains between two measured sizes are interpolated, beyond the
  /// last the line through the last two goes on. pass: kForward, kLoss, kBackwardInput or
  /// kBackwardWeight; recompute adds a block's forward to its backward_input.
  double layer_seconds(int device, int layer, DType compute, ActionKind pass, int64_t grains,
                       Recompute recompute = Recompute::kNone) const;

  /// One message between two ranks while they compute.
  double transfer_seconds(int from, int to, int64_t bytes) const;
  /// Bytes of an activation (with the batch's fields) or gradient message.
  int64_t message_bytes(ActionKind send, int64_t grains) const;
  /// A ring of ranks, each sending to the next: what its slowest link does.
  struct Ring {
    int64_t ranks = 0;
    double latency_seconds = 0;
    double bytes_per_second = 0;
  };
  Ring ring(const std::vector<int>& holders) const;
  /// Ring all_reduce: 2 (h - 1) steps of bytes / h, each over the slowest link; 0 for one rank.
  /// Source: Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002.
  double reduce_seconds(const Ring& ring, int64_t bytes) const;
  /// Everybody's shard to everybody: half of an all_reduce.
  double gather_seconds(const Ring& ring, int64_t bytes) const;
  /// Bytes of a gradient element on its way: EXACT sums 64-bit integers.
  int64_t gradient_bytes() const;
  /// Optimizer's part of a step for so many parameters.
  double optimizer_seconds(int device, int64_t parameters) const;
  /// Grains a second of a device that trains the whole model alone, at its best micro-batch size,
  /// in compute_of(device).
  double alone_grains_per_second(int device) const;

  /// For simulate(): every action's seconds and messages. plan and mesh must outlive them.
  ActionCosts costs(const Plan& plan, const Mesh& mesh) const;

 private:
  const LinkProfile& link(int from, int to) const;
  double alone_grains_per_second(int device, DType compute) const;

  const Recipe& recipe_;
  const ClusterProfile& cluster_;
  int state_copies_;
  RankTable ranks_;
  std::vector<ParamGroup> layout_;
  std::vector<DType> computes_;                  // by device
  std::vector<std::vector<LinkProfile>> links_;  // by device pair; [same node]
};

/// Simulates a plan. The plan's ranks are the cluster's. Throws UsageError for a plan that does not
/// fit the recipe or names ranks the cluster lacks.
PlanCost predict(const CostModel& model, const Plan& plan, Timeline timeline = Timeline::kKept);

/// The part of a cost that a plan file records.
Prediction prediction_of(const PlanCost& cost);

}  // namespace kente
