#include "tests/support/brute_force_plans.h"

#include <algorithm>
#include <cmath>

namespace kente {
namespace {

using Pipelines = std::vector<std::vector<int>>;

/// Puts rank after rank: left out, into a pipeline at any place, or as a pipeline of its own.
void for_every_grouping(Pipelines& pipelines, int rank, int num_ranks,
                        const std::function<void()>& visit) {
  if (rank == num_ranks) {
    if (!pipelines.empty()) visit();
    return;
  }
  for_every_grouping(pipelines, rank + 1, num_ranks, visit);
  for (size_t p = 0; p < pipelines.size(); ++p)
    for (size_t place = 0; place <= pipelines[p].size(); ++place) {
      const auto at = static_cast<std::ptrdiff_t>(place);
      pipelines[p].insert(pipelines[p].begin() + at, rank);
      for_every_grouping(pipelines, rank + 1, num_ranks, visit);
      pipelines[p].erase(pipelines[p].begin() + at);
    }
  pipelines.push_back({rank});
  for_every_grouping(pipelines, rank + 1, num_ranks, visit);
  pipelines.pop_back();
}

/// One pipeline's stages, share and micro-batches in every way, for what grains are left.
class Filler {
 public:
  Filler(const CostModel& model, double memory_use, const Pipelines& pipelines,
         const std::function<void(const Plan&, const PlanCost&)>& visit)
      : model_(model), memory_use_(memory_use), pipelines_(pipelines), visit_(visit) {}

  void run(ScheduleKind schedule) {
    plan_ = {};
    plan_.schedule = schedule;
    fill(0, model_.recipe().grains_per_step());
  }

 private:
  void fill(size_t pipeline, int64_t grains) {
    if (pipeline == pipelines_.size()) {
      if (grains == 0) score();
      return;
    }
    plan_.replicas.emplace_back();
    for (int64_t share = 1; share <= grains; ++share)
      for (int64_t size = 1; size <= std::min(share, most_grains(pipeline)); ++size)
        cut(pipeline, 0, 0, [&] {
          for (const int64_t under_way : under_way_of(pipelines_[pipeline].size())) {
            plan_.replicas.back().share = share;
            plan_.replicas.back().grains_per_micro_batch = size;
            plan_.replicas.back().under_way = under_way;
            const ReplicaPlan kept = plan_.replicas.back();
            fill(pipeline + 1, grains - share);
            plan_.replicas.resize(pipeline);
            plan_.replicas.push_back(kept);
          }
        });
    plan_.replicas.pop_back();
  }

  std::vector<int64_t> under_way_of(size_t stages) const {
    if (plan_.schedule != ScheduleKind::kZeroBubble) return {0};
    const auto p = static_cast<int64_t>(stages);
    return p == 1 ? std::vector<int64_t>{1} : std::vector<int64_t>{p, 2 * p - 1};
  }

  /// Stages of the last replica from this one on, beginning with layer `first`.
  void cut(size_t pipeline, size_t stage, int first, const std::function<void()>& visit) {
    const std::vector<int>& ranks = pipelines_[pipeline];
    const int num_layers = model_.recipe().model.num_layers();
    if (stage == ranks.size()) {
      if (first == num_layers) visit();
      return;
    }
    for (int last = first; last < num_layers; ++last) {
      std::vector<StagePlan>& stages = plan_.replicas.back().stages;
      stages.resize(stage);
      stages.push_back({.ranks = {ranks[stage]},
                        .layers = {{.first = first, .last = last}},
                        .compute = model_.compute_of_rank(ranks[stage]),
                        .recompute = Recompute::kNone});
      cut(pipeline, stage + 1, last + 1, visit);
    }
  }

  int64_t most_grains(size_t pipeline) const {
    if (model_.recipe().numerics.reduction == Reduction::kExact) return 1;
    int64_t most = 1;
    for (const int rank : pipelines_[pipeline]) {
      const auto device = static_cast<size_t>(model_.ranks().device_of(rank));
      const LayerCurve* curve =
          model_.cluster().devices[device].curve(LayerKind::kBlock, model_.compute_of_rank(rank));
      most = std::max(most, curve->at.back().grains);
    }
    return most;
  }

  bool too_big(const PlanCost& cost, int rank) const {
    const auto r = static_cast<size_t>(rank);
    return static_cast<double>(cost.memory[r].total()) >
           memory_use_ * static_cast<double>(cost.free_bytes[r]);
  }

  /// What a zero-bubble schedule is laid out from.
  void time_stages(ReplicaPlan& replica) const {
    const int64_t grains = replica.grains_per_micro_batch;
    for (size_t s = 0; s < replica.stages.size(); ++s) {
      StagePlan& stage = replica.stages[s];
      const int rank = stage.ranks.front();
      const auto microseconds = [&](std::initializer_list<ActionKind> passes) {
        double seconds = 0;
        for (int layer = stage.layers.front().first; layer <= stage.layers.front().last; ++layer)
          for (const ActionKind pass : passes)
            seconds += model_.layer_seconds(model_.ranks().device_of(rank), layer, stage.compute,
                                            pass, grains, stage.recompute);
        return std::max<int64_t>(1, std::llround(1e6 * seconds));
      };
      stage.times = {.forward = microseconds({ActionKind::kForward, ActionKind::kLoss}),
                     .backward_input = microseconds({ActionKind::kBackwardInput}),
                     .backward_weight = microseconds({ActionKind::kBackwardWeight}),
                     .message = 0};
      if (s + 1 == replica.stages.size()) continue;
      stage.times.message = std::llround(
          1e6 * model_.transfer_seconds(rank, replica.stages[s + 1].ranks.front(),
                                        model_.message_bytes(ActionKind::kSendActivation, grains)));
    }
  }

  PlanCost cost_of(Plan& plan) const {
    if (plan.schedule == ScheduleKind::kZeroBubble)
      for (ReplicaPlan& replica : plan.replicas) time_stages(replica);
    return predict(model_, plan, Timeline::kLeftOut);
  }

  void score() {
    Plan plan = plan_;
    PlanCost cost = cost_of(plan);
    bool again = false;
    for (ReplicaPlan& replica : plan.replicas)
      for (StagePlan& stage : replica.stages)
        if (too_big(cost, stage.ranks.front())) {
          stage.recompute = Recompute::kFull;
          again = true;
        }
    if (again) cost = cost_of(plan);
    for (int rank = 0; rank < model_.ranks().num_ranks(); ++rank)
      if (make_mesh(model_.recipe(), plan, model_.ranks().num_ranks()).replica_of(rank) >= 0 &&
          again && too_big(cost, rank))
        return;
    visit_(plan, cost);
  }

  const CostModel& model_;
  const double memory_use_;
  const Pipelines& pipelines_;
  const std::function<void(const Plan&, const PlanCost&)>& visit_;
  Plan plan_;
};

}  // namespace

void for_every_plan(const CostModel& model, double memory_use,
                    const std::function<void(const Plan&, const PlanCost&)>& visit) {
  Pipelines pipelines;
  for_every_grouping(pipelines, 0, model.ranks().num_ranks(), [&] {
    for (const ScheduleKind schedule :
         {ScheduleKind::kGPipe, ScheduleKind::k1F1B, ScheduleKind::kZeroBubble})
      Filler(model, memory_use, pipelines, visit).run(schedule);
  });
}

BruteForce brute_force(const CostModel& model, double memory_use) {
  BruteForce found;
  for_every_plan(model, memory_use, [&](const Plan& plan, const PlanCost& cost) {
    ++found.plans;
    if (found.best && cost.step_seconds >= found.seconds) return;
    found.best = plan;
    found.seconds = cost.step_seconds;
  });
  return found;
}

}  // namespace kente
