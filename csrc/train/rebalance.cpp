#include "csrc/train/rebalance.h"

#include <fmt/format.h>

#include <utility>

#include "csrc/base/errors.h"
#include "csrc/plan/planner.h"

namespace kente {
namespace {

/// One stretch may have been disturbed.
constexpr int kStretchesInARow = 2;
/// A change must save so many times what it costs.
constexpr double kWorthIt = 2;

}  // namespace

std::optional<std::string> Rebalance::stretch(const Plan& plan, const Stretch& measured) {
  std::optional<std::string> verdict;
  seconds_ = measured.seconds;
  steps_left_ = measured.steps_left;
  if (const double before = std::exchange(seconds_before_, 0); before > 0) {
    verdict = fmt::format("a step takes {:.4g} s, before {:.4g} s", seconds_, before);
    if (seconds_ > 0.98 * before) {
      least_gain_ = 1 + 2 * (least_gain_ - 1);
      *verdict += fmt::format(": no gain; the next change must promise {:.2f}x", least_gain_);
    }
  }
  if (!measured.off) in_a_row_ = 0;
  // A change that is wanted already stays as it is until it is taken or dropped.
  if (measured.off && !looking_ && !wanted_) look(plan, measured.corrected);
  return verdict;
}

void Rebalance::look(const Plan& plan, const ClusterProfile& corrected) {
  found_.reset();
  looking_ = true;
  work_.start([this, plan, corrected] {
    const CostModel model(recipe_, corrected, state_copies_);
    const double now = predict(model, plan).step_seconds;
    PlanResult result = make_plan(model, {});
    if (result.finalists.empty()) return;
    Candidate& best = result.finalists.front();
    best.plan.prediction = prediction_of(best.cost);
    found_ = {.change = {.plan = std::move(best.plan),
                         .cluster = corrected,
                         .gain = now / best.cost.step_seconds},
              .saved = now - best.cost.step_seconds};
  });
}

bool Rebalance::wanted() {
  if (!looking_ || work_.working()) return wanted_;
  looking_ = false;
  try {
    work_.rethrow();
  } catch (const Error& failure) {
    if (exit_status(failure) == ExitStatus::kBug) throw;
    log_.warn(std::string("no other plan: ") + failure.what());
  }
  const bool better = found_ && found_->change.gain >= least_gain_;
  in_a_row_ = better ? in_a_row_ + 1 : 0;
  wanted_ = in_a_row_ >= kStretchesInARow &&
            found_->saved * static_cast<double>(steps_left_) > kWorthIt * cost_seconds_;
  return wanted_;
}

void Rebalance::drop() {
  wanted_ = false;
  in_a_row_ = 0;
}

Rebalance::Change Rebalance::take() {
  KENTE_CHECK(wanted_ && found_, "no change is wanted");
  drop();
  seconds_before_ = seconds_;
  return std::move(std::exchange(found_, std::nullopt)->change);
}

}  // namespace kente
