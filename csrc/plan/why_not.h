#pragma once

#include <string>

#include "csrc/plan/planner.h"

namespace kente {

/// One line on why a candidate lost: how much dearer, and the largest cause. "+8.2 %: bubble 21 %
/// against 9 %", "+3.1 %: rank 3 (old) computes 1.32 s of 1.38 s". A plan that does not fit: "8.1 %
/// less, but rank 2 (old) needs 1.2 GiB more than it may take".
std::string why_not(const CostModel& model, const Candidate& loser, const Candidate& winner,
                    const PlanOptions& options);

}  // namespace kente
