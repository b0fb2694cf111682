#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "csrc/config/cluster.h"
#include "csrc/config/imitation.h"
#include "csrc/config/recipe.h"
#include "csrc/nn/ops/ops.h"
#include "csrc/train/pacer.h"

namespace kente {

struct LayerBenchOptions {
  Recipe recipe;
  int64_t memory_bytes = 0;  // what this rank may use
  ImitatedRank device = {};  // waits == false: the real one
  uint64_t imitation_seed = 1;
  int most_blocks = 2;         // measured at once; fewer where memory is short
  int64_t most_tokens = 4096;  // of a micro-batch; one grain is always measured
  int fewest_rounds = 5;       // of every size, time permitting
  double seconds = 8;          // for everything, over all ranks
  double timeout_seconds = 600;
  PaceClock clock = {};  // of everything but the optimizer
  Ops* ops = &cpu_ops();
};

struct LayerMeasurement {
  std::vector<LayerCurve> curves;  // embedding, block, head in the recipe's dtype
  double optimizer_seconds_per_parameter = 0;
  /// By how much computing took longer than the imitated device would, relatively; 0 without one.
  double late = 0;
};

/// Times the recipe's own layers, built and run as a step does: real chunk, gradient sums and
/// optimizer on made-up tokens; micro-batches of 1, 2, 4, ... grains (only 1 under EXACT) as far as
/// memory and time allow. All ranks compute at the same time throughout, so what they take from
/// each other is in the numbers. Medians over rounds, in CPU time times what the rank loses to
/// stops and neighbours, or, on a GPU, in its own time. A collective. Throws UsageError when not
/// even one block fits into memory_bytes.
LayerMeasurement measure_layers(const LayerBenchOptions& options, Communicator& world);

}  // namespace kente
