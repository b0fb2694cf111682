#pragma once

#include <cstdint>
#include <vector>

namespace kente {

/// The samples that a step's gradient came from: [first, last].
struct StepSamples {
  int64_t step = 0;
  int64_t first = 0, last = -1;
  bool applied = true;  // false: its update was left out, a gradient was not finite
};

/// What a run used of its data: steps 1 to n, in the order of the data.
struct Ledger {
  /// Steps that follow each other, over samples that follow each other.
  struct Range {
    int64_t first_step = 0, last_step = 0, first_sample = 0, last_sample = 0;
    bool operator==(const Range&) const = default;
  };
  /// Samples, and the steps next to them or that both used them.
  struct Finding {
    int64_t first_sample = 0, last_sample = 0, step = 0, other_step = 0;
    bool operator==(const Finding&) const = default;
  };
  std::vector<Range> ranges;
  std::vector<Finding> left_out;     // by both neighbours; step used what comes before
  std::vector<Finding> used_twice;   // by step and, later, by other_step
  std::vector<Range> missing_steps;  // nothing is known of them; no samples
  std::vector<int64_t> not_applied;  // steps
  int64_t steps = 0, samples = 0;    // known steps; different samples they used
};

/// steps: one entry a step, in any order; of several for a step the last one counts, because a step
/// that was done again took the place of the first.
Ledger make_ledger(const std::vector<StepSamples>& steps);

}  // namespace kente
