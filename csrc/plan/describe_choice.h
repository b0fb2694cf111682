#pragma once

#include <string>

#include "csrc/plan/planner.h"

namespace kente {

/// Grains a second of the plan over those of all the cluster's devices, each alone with the whole
/// model, whether it would fit or not.
double efficiency_of(const CostModel& model, const PlanCost& cost);

/// A plan and what it is predicted to cost, as a table for people in plain ASCII: step, tokens/s,
/// bubble, efficiency, bottleneck; then one row a rank (device, place, layers, grains, micro-
/// batches, compute, waiting, memory against what is free), or beyond 32 ranks one row for
/// pipelines that are alike. At most 100 columns. Ends with a line feed.
std::string describe_cost(const CostModel& model, const Plan& plan, const PlanCost& cost);

/// The runners-up, and plans that do not fit, each with its shape and why it lost.
std::string describe_runners_up(const CostModel& model, const PlanResult& result,
                                Objective objective);

/// "2 pipelines: fast 5, slow 3 | fast 8": devices and how many layers each holds; cut at width.
std::string shape_of(const CostModel& model, const Plan& plan, size_t width);

/// An objective's value: "1.32 s", "841 J", "0.0123 a step".
std::string value_words(double value, Objective objective);

}  // namespace kente
