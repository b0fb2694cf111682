#pragma once

#include <string>

#include "csrc/plan/cost_model.h"
#include "csrc/plan/planner.h"

namespace kente {

/// The plan's predicted step as trace events, for chrome://tracing and ui.perfetto.dev: one track a
/// rank with computing, reducing and waiting. Of large plans one pipeline of each kind. cost holds
/// its timeline.
std::string plan_trace(const CostModel& model, const Plan& plan, const PlanCost& cost);

/// The same as a picture: who holds what, the simulated step, memory against limits, runners-up.
std::string plan_picture(const CostModel& model, const PlanResult& result, Objective objective);

}  // namespace kente
