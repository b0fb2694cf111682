#pragma once

#include <cstdint>

#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"

namespace kente {

struct RandomPlan {
  Plan plan;
  int ranks = 0;  // spares included
};

/// A valid plan for a recipe, a pure function of the seed: 1 to 4 ranks in any order, some of them
/// spares; replicas with unlike splits and shares; either schedule, under GPipe also ranks with
/// several layer ranges; recompute; sharded optimizer state with any weights. Grains run singly.
RandomPlan random_plan(const Recipe& recipe, uint64_t seed);

}  // namespace kente
