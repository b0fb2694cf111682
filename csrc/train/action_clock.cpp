#include "csrc/train/action_clock.h"

#include <utility>

namespace kente {

size_t ActionClock::mark() {
  work_->mark();
  return next_mark_++;
}

void ActionClock::time_optimizer(const std::function<void()>& work) {
  const size_t begin = mark();
  work();
  timed_.push_back({.what = Timed::kOptimizer, .begin = begin, .end = mark()});
}

void ActionClock::waited() {
  settle();
  waited_ = mark();
}

void ActionClock::end(const Action& action, bool counts) {
  const size_t begin = std::exchange(last_, mark());
  timed_.push_back({.action = action,
                    .begin = begin,
                    .waited = waited_,
                    .end = last_,
                    .counts = counts,
                    .recorded = recording_});
}

void ActionClock::settle_if_passed() {
  if (work_->passed()) settle();
}

PhaseClock& ActionClock::phases() {
  settle();
  return phases_;
}

std::vector<TimelineSpan> ActionClock::take_spans() {
  settle();
  return std::exchange(spans_, {});
}

/// Waits for all marks. The newest stays: the next action may begin there.
void ActionClock::settle() {
  work_->take(times_);
  for (const Timed& timed : timed_) account(timed);
  timed_.clear();
  if (times_.size() < 2) return;
  first_mark_ += times_.size() - 1;
  times_.erase(times_.begin(), times_.end() - 1);
}

void ActionClock::account(const Timed& timed) {
  switch (timed.what) {
    case Timed::kBeginStep:
      return phases_.begin_step();
    case Timed::kOptimizer:
      return phases_.add_optimizer(at(timed.end) - at(timed.begin));
    case Timed::kAction:
      const bool step = timed.action.kind == ActionKind::kStep;
      if (timed.counts)
        phases_.add(timed.action, at(timed.begin), at(timed.end), step ? at(timed.waited) : 0);
      if (timed.recorded) record(timed);
  }
}

void ActionClock::record(const Timed& timed) {
  const std::string label = to_string(timed.action);
  const int64_t begin = at(timed.begin), end = at(timed.end);
  switch (timed.action.kind) {
    case ActionKind::kRecvActivation:
    case ActionKind::kRecvGradient:
      return record(label, TimelineSpan::kWait, begin, end);
    case ActionKind::kSendActivation:
    case ActionKind::kSendGradient:
    case ActionKind::kReduceBucket:
    case ActionKind::kGatherParameters:
      return record(label, TimelineSpan::kComm, begin, end);
    case ActionKind::kStep:
      // Gradients and votes of slower ranks first, then the optimizer.
      record("wait", TimelineSpan::kWait, begin, at(timed.waited));
      return record(label, TimelineSpan::kCompute, at(timed.waited), end);
    default:
      return record(label, TimelineSpan::kCompute, begin, end);
  }
}

void ActionClock::record(const std::string& label, TimelineSpan::Kind kind, int64_t begin_ns,
                         int64_t end_ns) {
  spans_.push_back({.rank = rank_,
                    .label = label,
                    .kind = kind,
                    .begin = static_cast<double>(begin_ns) * 1e-9,
                    .end = static_cast<double>(end_ns) * 1e-9});
}

}  // namespace kente
