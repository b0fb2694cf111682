#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/plan/drift.h"
#include "csrc/report/run_record.h"
#include "csrc/train/action_clock.h"

namespace kente {

/// What a stretch of steps showed.
struct WatchedSteps {
  double seconds = 0;  // a step on average
  std::vector<RankRecord> ranks;
  /// Set when the steps are further than 10 % from the prediction for another reason than last
  /// time.
  std::optional<Drift> drift;
  bool off = false;  // further than 10 % from the prediction, whatever the reason
  /// The profile as these steps measured it.
  ClusterProfile corrected;
  /// Now and then, once there are enough of them: the last stretches together.
  struct Settled {
    ClusterProfile corrected;  // the profile as they measured it
    double error = 0;          // see SettledMeasurement
  };
  std::optional<Settled> settled;
};

/// Lays the steps of a run beside the plan's prediction, ten at a time.
class PlanWatch {
 public:
  /// plan was made for recipe and cluster; all must outlive it. As many ranks as the cluster has.
  PlanWatch(const Recipe& recipe, const Plan& plan, const ClusterProfile& cluster,
            Communicator& world, double timeout_seconds);

  /// After every step, on every rank: a collective at the end of each stretch. Empty until then,
  /// and on all ranks but 0. The first steps, in which everything is cold, do not count.
  std::optional<WatchedSteps> step(double seconds, ActionClock& clock);

 private:
  StepMeasurement gather(const RankMeasurement& mine, double seconds);
  std::optional<WatchedSteps::Settled> settled();

  const Plan& plan_;
  const ClusterProfile& cluster_;
  Communicator& world_;
  const double timeout_seconds_;
  const CostModel model_;
  const PlanCost predicted_;
  int64_t seen_ = 0;                        // steps so far
  double seconds_ = 0;                      // of the stretch
  int64_t counted_ = 0;                     // steps in it
  std::vector<StepMeasurement> stretches_;  // not yet looked at all together; on rank 0
  bool settled_before_ = false;             // as many as there may be were
  int last_rank_ = -2;                      // of the last drift that was reported
  std::string last_phase_;
};

}  // namespace kente
