#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"

namespace kente {

/// A recipe small enough for unit tests: 4 blocks, D 32, H 4 (K 2 for llama and qwen2), V 96, T 16,
/// 16 grains of one sample a step, tied head, fp32, EXACT, one source "test".
Recipe small_recipe(ModelFamily family);

/// A plan from layer borders: stage i of replica r holds layers borders[r][i] .. borders[r][i + 1]
/// - 1; ranks are numbered in order. shares in grains, one per replica.
Plan plan_from_borders(const std::vector<std::vector<int>>& borders,
                       const std::vector<int64_t>& shares);

}  // namespace kente
