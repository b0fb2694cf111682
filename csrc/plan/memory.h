#pragma once

#include <cstdint>
#include <vector>

#include "csrc/plan/schedule.h"

namespace kente {

/// What one rank needs in host memory, in bytes.
struct MemoryPrediction {
  int64_t parameters = 0;  // fp32 master weights, and the copy GEMMs read if it is of another dtype
  int64_t gradients = 0;   // sums; EXACT: 64-bit integers and one group's scratch
  int64_t optimizer = 0;   // AdamW's two moments of this rank's shard
  int64_t activations = 0;  // the most that the schedule keeps at once
  int64_t transient = 0;    // the largest that one layer needs besides, and messages under way
  int64_t process = 0;      // code, libraries, what malloc holds back
  int64_t snapshots = 0;    // copies of the state in shared memory

  int64_t total() const {
    return parameters + gradients + optimizer + activations + transient + process + snapshots;
  }
};

/// Copies of its part of the state for which a rank needs memory while snapshots are taken: two
/// slots; on several nodes two more that stay while they travel, and two for another rank's. One
/// more is left free: a slot never takes more than half of what there is.
inline constexpr int kSnapshotCopies = 2 + 1;
inline constexpr int kSnapshotCopiesOnNodes = 6 + 1;

/// Predicted peak host memory of each rank while it trains on CPU; see the .cpp for the count per
/// layer. state_copies: 0 without snapshots. A mesh without buckets is one replica of several: its
/// ranks then count as if no other stored any of their layers, the most there can be.
std::vector<MemoryPrediction> predict_memory(const Recipe& recipe, const Plan& plan,
                                             const Mesh& mesh, int state_copies = 0);

/// The same with the model's layout and the plan's schedule at hand, for who asks often.
std::vector<MemoryPrediction> predict_memory(const Recipe& recipe, const Plan& plan,
                                             const Mesh& mesh,
                                             const std::vector<ParamGroup>& layout,
                                             const std::vector<ActionList>& schedule,
                                             int state_copies = 0);

/// The totals of predict_memory.
std::vector<int64_t> predict_peak_bytes(const Recipe& recipe, const Plan& plan, const Mesh& mesh);

}  // namespace kente
