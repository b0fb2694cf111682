#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/plan/schedule.h"

namespace kente {

/// What the simulator asks about. Seconds and bytes for one action of one rank. An empty function
/// counts as 0.
struct ActionCosts {
  /// Compute actions, collectives and Step: how long the rank is busy.
  std::function<double(int rank, const Action&)> seconds;
  /// Sends: time on the wire.
  std::function<double(int from, int to, const Action&)> transfer_seconds;
  /// Bytes a Forward (or Loss, BackwardInput, ...) adds to what the rank keeps; negative: gives
  /// back.
  std::function<int64_t(int rank, const Action&)> kept_bytes;
};

struct TimelineEntry {
  int rank = 0;
  Action action;
  double begin = 0, end = 0;  // seconds from the step's start; waiting included
};

/// kRendezvous: no buffers, a send blocks until its receive is reached: the strictest peer, for
/// proofs. kBuffered: a send starts at once and the rank goes on, the receive was posted ahead:
/// what the runner does, for predictions.
enum class SendMode { kRendezvous, kBuffered };

/// Whether a simulation lists every action's begin and end; thousands of ranks have millions.
enum class Timeline { kKept, kLeftOut };

struct Simulation {
  double seconds = 0;                   // the step
  std::vector<double> ends;             // per rank: when its list ended
  std::vector<double> busy;             // per rank: seconds without waiting and messages
  std::vector<int64_t> peak_bytes;      // per rank, of kept_bytes
  std::vector<TimelineEntry> timeline;  // in the order of each rank's list
  /// Empty, or what waits for what: the schedule cannot finish.
  std::string deadlock;
};

/// Runs the schedule. Collectives start when the last holder arrives, Step when the last rank does
/// (the gradient's norm is everybody's); both take the longest of the ranks' seconds. Costs
/// O(actions).
Simulation simulate(const Mesh& mesh, const std::vector<ActionList>& schedule,
                    const ActionCosts& costs, SendMode mode = SendMode::kRendezvous,
                    Timeline timeline = Timeline::kKept);

/// Costs out of one or more measured steps: for compute the median of its (rank, kind, chunk,
/// micro-batch), or of its (rank, kind, chunk) where that micro-batch was not measured; for
/// collectives the shortest median of any rank, since the others' durations hold waiting. Messages
/// cost nothing: what they cost beyond waiting cannot be read off a timeline. Actions never
/// measured cost 0.
ActionCosts measured_costs(const std::vector<TimelineEntry>& measured);

}  // namespace kente
