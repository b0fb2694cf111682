#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "csrc/base/micro_batch.h"
#include "csrc/config/recipe.h"

namespace kente {

/// One golden file; tests/golden/README.md says what it holds.
struct GoldenRun {
  ModelConfig model;
  OptimizerConfig optimizer;
  std::map<std::string, std::vector<float>> weights;  // by our names, row-major
  int64_t steps = 0, samples = 0, length = 0;
  std::vector<int32_t> tokens;             // [steps, samples, length + 1]
  std::vector<float> first_logits;         // [length, V]
  std::vector<double> losses, grad_norms;  // [steps]

  /// Samples [first, first + count) of a step (from 0).
  MicroBatch batch(int64_t step, int64_t first, int64_t count) const;
};

/// tests/golden/<family>.safetensors
GoldenRun read_golden_run(ModelFamily family);

}  // namespace kente
