#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/recipe.h"
#include "csrc/nn/parameters.h"

namespace kente {

struct GenerateOptions {
  int64_t count = 64;        // tokens to add
  double temperature = 0.8;  // 0: the likeliest token
  int64_t top_k = 50;        // 0: all
  int64_t end_token = -1;    // stop after it; -1: never
  uint64_t seed = 1;
};

/// Continues prompt (at least one token) with a whole model on one rank; only the last
/// sequence_length tokens are looked at. A pure function of its arguments. Returns prompt and
/// continuation.
std::vector<int32_t> generate(const Recipe& recipe, const Parameters& parameters,
                              std::vector<int32_t> prompt, const GenerateOptions& options);

}  // namespace kente
