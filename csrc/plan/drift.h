#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "csrc/plan/cost_model.h"

namespace kente {

/// What one rank measured, a step on average.
struct RankMeasurement {
  PhaseSeconds phases;  // reduce and wait are not looked at
  /// From its last backward or message to the optimizer's start: reductions, and the wait for
  /// slower ranks.
  double end_wait = 0;
  /// Seconds it waited for messages of each neighbour; by rank number.
  std::vector<std::pair<int, double>> waited_for;
};

/// What the rank itself was at work for.
inline double own_work(const PhaseSeconds& phases) { return phases.compute() + phases.optimizer; }

/// What a few steps measured, averaged; one entry a rank.
struct StepMeasurement {
  double step_seconds = 0;
  std::vector<RankMeasurement> ranks;
};

/// A prediction that did not come true, and the one thing that explains most of it.
struct Drift {
  double predicted_seconds = 0;
  double measured_seconds = 0;
  int rank = -1;        // whose phase or, for a link, the receiving end; -1: everybody's
  int peer = -1;        // the link's other end
  std::string phase;    // "forward", "backward_input", ..., "link", "reduce"
  double factor = 1;    // measured over predicted, of that phase
  std::string message;  // one line for people: what, by how much, where
};

/// The profile with each device's times multiplied by what its ranks measured over what was
/// predicted, and the links' all_reduce rate by what the reductions took. Phases that were
/// predicted as nothing stay.
ClusterProfile corrected_profile(const CostModel& model, const Plan& plan,
                                 const StepMeasurement& measured);

/// Compares a step as measured with its prediction. Empty while the step and every rank's busy time
/// are within tolerance (0.1: 10 %). Otherwise names the rank and phase that, corrected alone,
/// moves the simulated step nearest to the measured one; where the corrected compute leaves most of
/// the difference unexplained, the link whose messages were waited for longest beyond what the
/// simulation allows, or the reductions.
std::optional<Drift> find_drift(const CostModel& model, const Plan& plan,
                                const StepMeasurement& measured, double tolerance = 0.1);

}  // namespace kente
