#include "csrc/train/safeguards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace kente {
namespace {

// A machine that corrupts again and again is not to be trusted, whoever it is.
constexpr int64_t kMostReruns = 3;
constexpr int64_t kRerunMemory = 1000;  // steps

}  // namespace

Safeguards::Safeguards(const Recipe& recipe, const Mesh& mesh, Communicator& world,
                       HostState& state, const Options& options)
    : recipe_(recipe),
      mesh_(mesh),
      options_(options),
      guard_(recipe.guards),
      replicas_(mesh, world, state, options.timeout_seconds) {}

Safeguards::Decision Safeguards::judge(const StepReport& report, bool will_save) {
  Decision decision;
  judge_loss(report, decision);
  const bool doubted = doubt_ && doubt_->step == report.step;
  const bool due =
      options_.check_replicas_every > 0 && report.step % options_.check_replicas_every == 0;
  const bool checks = options_.check_replicas_every > 0 && !replicas_.empty();
  // What is given up anyway need not be sound.
  if (checks && !decision.go_back && decision.stop.empty() && (due || will_save || doubted))
    check_replicas(report.step, decision);
  return decision;
}

void Safeguards::judge_loss(const StepReport& report, Decision& decision) {
  const LossGuard::Judgement judged = guard_.judge({.step = report.step,
                                                    .applied = report.applied,
                                                    .loss = static_cast<double>(report.loss),
                                                    .grad_norm = report.grad_norm});
  switch (judged.verdict) {
    case LossGuard::Verdict::kGoOn:
      if (!judged.reason.empty())
        decision.events.push_back({report.applied ? "spike" : "skipped", judged.reason});
      return;
    case LossGuard::Verdict::kRollBack:
      decision.events.push_back({"roll back", judged.reason});
      decision.go_back = judged.at_most;
      decision.leave_out_data = true;
      return;
    case LossGuard::Verdict::kStop:
      decision.events.push_back({"gave up", judged.reason});
      decision.stop = judged.reason;
      return;
  }
}

void Safeguards::check_replicas(int64_t step, Decision& decision) {
  const ReplicaDigests digests = replicas_.digests();
  if (doubt_ && doubt_->step == step) {
    const std::vector<int> wrong = proved_wrong(mesh_, doubt_->digests, digests);
    decision.events.push_back(
        {"corruption proved", fmt::format("rank {}: its own rerun of the step gave other bits",
                                          fmt::join(wrong, ", "))});
    doubt_.reset();
  }
  bool undecided = false;
  for (const Corruption& corruption : replicas_.heal(digests)) {
    undecided = undecided || corruption.culprits.empty();
    decision.events.push_back({"corruption", describe(corruption)});
  }
  if (!undecided) return;
  const auto recent = std::count_if(reruns_.begin(), reruns_.end(),
                                    [&](int64_t when) { return when > step - kRerunMemory; });
  if (recent >= kMostReruns) {
    decision.stop = fmt::format(
        "replicas held different bits {} times in {} steps: see the events for the rank, and start "
        "without its device",
        recent + 1, kRerunMemory);
    return;
  }
  reruns_.push_back(step);
  doubt_ = Doubt{.step = step, .digests = digests};
  decision.go_back = step - 1;
}

void Safeguards::went_back(int64_t from, int64_t to, bool leave_out_data) {
  if (leave_out_data) guard_.rolled_back(from, to);
}

std::set<int64_t> Safeguards::keep(int64_t step) const {
  std::set<int64_t> steps;
  for (int64_t at = rollback_point(recipe_.guards, step, 0); at <= step;
       at += recipe_.guards.rollback_steps)
    steps.insert(at);
  return steps;
}

}  // namespace kente
