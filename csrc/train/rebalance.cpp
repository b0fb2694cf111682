#include "csrc/train/rebalance.h"

#include <fmt/format.h>

#include <algorithm>
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
      double& least = changed_settled_ ? least_settled_gain_ : least_gain_;
      least = 1 + 2 * (least - 1);
      *verdict += fmt::format(": no gain; the next change must promise {:.2f}x", least);
    }
  }
  if (!measured.off) in_a_row_ = 0;
  // A change that is wanted already stays as it is until it is taken or dropped.
  if ((measured.off || measured.settled) && !looking_ && !wanted_) look(plan, measured);
  return verdict;
}

void Rebalance::look(const Plan& plan, const Stretch& measured) {
  newest_.reset();
  settled_.reset();
  looking_ = true;
  work_.start([this, plan, measured, least = least_gain_, least_settled = least_settled_gain_] {
    if (measured.off) newest_ = find(plan, measured.corrected);
    if (newest_) newest_->least_gain = least;
    if (!measured.settled) return;
    settled_ = find(plan, measured.settled->corrected);
    if (!settled_) return;
    settled_->settled = true;
    settled_->least_gain = std::max(least_settled, 1 + measured.settled->error);
  });
}

std::optional<Rebalance::Found> Rebalance::find(const Plan& plan,
                                                const ClusterProfile& corrected) const {
  const CostModel model(recipe_, corrected, state_copies_);
  const double now = predict(model, plan).step_seconds;
  PlanResult result = make_plan(model, {});
  if (result.finalists.empty()) return std::nullopt;
  Candidate& best = result.finalists.front();
  best.plan.prediction = prediction_of(best.cost);
  return Found{.change = {.plan = std::move(best.plan),
                          .cluster = corrected,
                          .gain = now / best.cost.step_seconds},
               .saved = now - best.cost.step_seconds};
}

bool Rebalance::worth_it(const Found& found) const {
  return found.saved * static_cast<double>(steps_left_) > kWorthIt * cost_seconds_;
}

bool Rebalance::wanted() {
  if (!looking_ || work_.working()) return wanted_.has_value();
  looking_ = false;
  try {
    work_.rethrow();
  } catch (const Error& failure) {
    if (exit_status(failure) == ExitStatus::kBug) throw;
    log_.warn(std::string("no other plan: ") + failure.what());
  }
  in_a_row_ = newest_ && newest_->enough() ? in_a_row_ + 1 : 0;
  if (in_a_row_ >= kStretchesInARow && worth_it(*newest_)) {
    wanted_ = std::move(newest_);
  } else if (settled_ && settled_->enough() && worth_it(*settled_)) {
    wanted_ = std::move(settled_);
  }
  return wanted_.has_value();
}

void Rebalance::drop() {
  wanted_.reset();
  in_a_row_ = 0;
}

Rebalance::Change Rebalance::take() {
  KENTE_CHECK(wanted_, "no change is wanted");
  const Found taken = *std::exchange(wanted_, std::nullopt);
  drop();
  changed_settled_ = taken.settled;
  seconds_before_ = seconds_;
  return taken.change;
}

}  // namespace kente
