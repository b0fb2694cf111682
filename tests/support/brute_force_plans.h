#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "csrc/plan/cost_model.h"

namespace kente {

/// Calls visit for every plan of a small problem: every set of ranks left out, every way to group
/// the others into ordered pipelines, every split of layers with the embedding on the first stage
/// and the head on the last, every share, every size of micro-batch up to the largest measured one,
/// both schedules. Recompute: where a stage without it fits into limit(rank) bytes only that, since
/// recompute only adds seconds; else with it. Nothing clever.
void for_every_plan(const CostModel& model, double memory_use,
                    const std::function<void(const Plan&, const PlanCost&)>& visit);

struct BruteForce {
  std::optional<Plan> best;
  double seconds = 0;
  int64_t plans = 0;  // scored
};

/// The fastest plan that fits, scored by predict(); no plan when none fits.
BruteForce brute_force(const CostModel& model, double memory_use);

}  // namespace kente
