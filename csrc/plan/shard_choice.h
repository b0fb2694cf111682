#pragma once

#include <optional>

#include "csrc/plan/cost_model.h"

namespace kente {

/// The plan with its optimizer state sharded over each layer's holders, in proportion to the memory
/// that each has left for it. Empty when some rank is short of memory even so, or when no layer has
/// two holders. memory_use: the part of what a rank has free that may be taken.
std::optional<Plan> shard_by_free_memory(const CostModel& model, const Plan& plan,
                                         double memory_use);

}  // namespace kente
