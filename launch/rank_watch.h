#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/progress_board.h"

namespace kente {

/// How long phases took, over all ranks and starts of a run.
class PhaseTimes {
 public:
  void add(Phase phase, double seconds);
  /// The 99th percentile of the newest few hundred; 0 before the first.
  double p99(Phase phase) const;

 private:
  std::array<std::deque<double>, kPhases> seconds_;
};

/// Decides from what ranks tell whether one of them is dead to the run. Knows no clock and no
/// process: seconds are the caller's. A rank that is stopped or whose machine hangs sends nothing;
/// a rank that is stuck goes on sending that nothing has changed.
class RankWatch {
 public:
  struct Limits {
    double silence = 6;     // no heartbeat for so long
    double stuck = 8;       // no change for so long, or ten times what the phase takes
    double patience = 600;  // start, validation and storage may take so long
  };
  RankWatch(int ranks, const Limits& limits, PhaseTimes& times, double now);

  void joined(int rank, double now);
  void progress(int rank, const ProgressBoard::Entry& entry, double now);
  /// It ended by itself.
  void left(int rank);

  struct Suspect {
    int rank = -1;  // -1: every rank waits for the others
    std::string why;
  };
  std::optional<Suspect> suspect(double now) const;

  int joined() const;
  /// The newest step that some rank has finished.
  int64_t finished_step() const;
  /// "step 17, forward of micro-batch 3"
  std::string where(int rank) const;
  const ProgressBoard::Entry& entry(int rank) const {
    return ranks_.at(static_cast<size_t>(rank)).entry;
  }

 private:
  struct Rank {
    bool joined = false, left = false;
    double heard = 0, changed = 0;
    ProgressBoard::Entry entry;
  };
  double limit(Phase phase) const;

  const Limits limits_;
  PhaseTimes& times_;
  const double began_;
  std::vector<Rank> ranks_;
};

}  // namespace kente
