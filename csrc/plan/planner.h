#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/plan/cost_model.h"

namespace kente {

/// What a plan is chosen by: seconds, joules or money of one step; every plan trains the same.
enum class Objective { kTime, kEnergy, kMoney };

/// Whether optimizer state may be cut over a layer's holders where it does not fit otherwise.
enum class Sharding { kAllowed, kNever };

struct PlanOptions {
  Objective objective = Objective::kTime;
  std::vector<ScheduleKind> schedules = {ScheduleKind::k1F1B, ScheduleKind::kZeroBubble,
                                         ScheduleKind::kGPipe};
  double memory_use = 0.95;  // of what a rank has free
  Sharding sharding = Sharding::kAllowed;
  int runners_up = 5;
  int64_t most_layouts = 1200;  // up to so many ways to group ranks are all looked at
};

/// A plan that was considered, with its prediction filled in.
struct Candidate {
  Plan plan;
  PlanCost cost;        // without timeline
  double value = 0;     // the objective: seconds, joules or money a step
  std::string why_not;  // one line on why it lost; empty for the winner
};

struct PlanResult {
  /// Best first; the first is the plan to take. Empty when nothing fits into memory. Runners-up
  /// differ in who works with whom, as far as there are as many such ways.
  std::vector<Candidate> finalists;
  /// A faster plan that does not fit, if one was seen: what more memory would buy.
  std::vector<Candidate> too_big;
  /// When nothing fits: what is missing where for the nearest plan, and the smallest change that
  /// would fit.
  std::string nothing_fits;
  int64_t runs = 0;  // pipelines simulated on the way
};

/// Searches replicas, the order of devices in each pipeline, the split of layers, micro-batches,
/// shares, recompute and schedule. Few ranks: every way to group them into pipelines that could
/// still win; more: a beam search from pipelines of alike devices; hundreds: classes of alike
/// pipelines. Devices that only hurt stay spares. Every finalist is predicted as a whole by the
/// event simulator. Deterministic. Throws UsageError when the objective lacks watts or prices.
PlanResult make_plan(const CostModel& model, const PlanOptions& options);

}  // namespace kente
