#pragma once

#include <string>

#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"

namespace kente {

/// What a rank needs by its plan, and how the plan would need less: smaller micro-batches, then
/// recomputation. For people. Throws UsageError when the rank is not in the plan.
std::string memory_advice(const Recipe& recipe, const Plan& plan, int rank);
/// The same for the run in a directory; empty where its plan cannot be read.
std::string memory_advice(const std::string& run_directory, int rank);

}  // namespace kente
