#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "csrc/base/background_work.h"
#include "csrc/base/log.h"
#include "csrc/config/cluster.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/train/plan_watch.h"

namespace kente {

/// Looks for a better plan when ranks turn out slower or faster than the plan was made for, and
/// says when a change pays: soon, where a stretch or two promise much; later, where many together
/// promise a little that noise does not explain. Planning runs beside the training. Rank 0's; lives
/// through changes. One thread.
class Rebalance {
 public:
  /// What a stretch of steps showed.
  struct Stretch {
    double seconds = 0;        // a step on average
    bool off = false;          // further from the prediction than noise explains
    ClusterProfile corrected;  // the profile as these steps measured it
    std::optional<WatchedSteps::Settled> settled = {};
    int64_t steps_left = 0;  // of the run
  };
  struct Change {
    Plan plan;               // with its prediction
    ClusterProfile cluster;  // what it was made from
    double gain = 1;         // predicted: the current plan's step over the new one's
  };

  /// recipe and log must outlive it. state_copies: see CostModel.
  Rebalance(const Recipe& recipe, int state_copies, Log& log)
      : recipe_(recipe), state_copies_(state_copies), log_(log) {}

  /// A stretch ended under this plan. What came of the last change, in words, when this is the
  /// first stretch after it.
  std::optional<std::string> stretch(const Plan& plan, const Stretch& measured);
  /// The last two stretches both had a plan that is better by enough, or many together had one
  /// whose gain is small but more than noise explains; and what it saves until the run's end is
  /// worth the change.
  bool wanted();
  /// A plan is being looked for.
  bool looking() const { return looking_; }
  /// The change that is wanted(); that call's plan is the current one from now on.
  Change take();
  /// The change that is wanted() cannot be made; what the next stretches show decides anew.
  void drop();
  /// How long a start or a change took.
  void cost(double seconds) { cost_seconds_ = seconds; }

 private:
  struct Found {
    Change change;
    double saved = 0;       // seconds a step
    double least_gain = 1;  // what it must promise
    bool settled = false;   // from many stretches
    bool enough() const { return change.gain >= least_gain; }
  };
  void look(const Plan& plan, const Stretch& measured);
  std::optional<Found> find(const Plan& plan, const ClusterProfile& corrected) const;
  bool worth_it(const Found& found) const;

  const Recipe& recipe_;
  const int state_copies_;
  Log& log_;
  double least_gain_ = 1.12;          // of the newest stretches
  double least_settled_gain_ = 1.03;  // of many
  double cost_seconds_ = 0;
  int in_a_row_ = 0;  // stretches with a better plan
  int64_t steps_left_ = 0;
  double seconds_ = 0;         // of the newest stretch
  double seconds_before_ = 0;  // of the last one before a change that is not judged yet
  bool looking_ = false;
  bool changed_settled_ = false;  // what the last change was made from
  /// By the work that is under way, then by the last one.
  std::optional<Found> newest_, settled_;
  std::optional<Found> wanted_;
  BackgroundWork work_;  // last: it uses the others
};

}  // namespace kente
