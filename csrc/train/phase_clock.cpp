#include "csrc/train/phase_clock.h"

#include <algorithm>
#include <utility>

namespace kente {

void PhaseClock::begin_step() {
  ++steps_;
  first_collective_ = -1;
}

void PhaseClock::add(const Action& action, int64_t begin_ns, int64_t end_ns,
                     int64_t waited_until_ns) {
  const int64_t took = end_ns - begin_ns;
  switch (action.kind) {
    case ActionKind::kForward:
    case ActionKind::kLoss:
      forward_ += took;
      return;
    case ActionKind::kBackwardInput:
      backward_input_ += took;
      return;
    case ActionKind::kBackwardWeight:
      backward_weight_ += took;
      return;
    case ActionKind::kRecvActivation:
    case ActionKind::kRecvGradient:
      waited_for_[action.peer] += took;
      return;
    case ActionKind::kReduceBucket:
      if (first_collective_ < 0) first_collective_ = begin_ns;
      return;
    case ActionKind::kStep:
      if (first_collective_ < 0) first_collective_ = begin_ns;
      end_wait_ += waited_until_ns - first_collective_;
      optimizer_ += end_ns - waited_until_ns;
      return;
    case ActionKind::kGatherParameters:
      gather_ += took;
      return;
    case ActionKind::kSendActivation:
    case ActionKind::kSendGradient:
      return;
  }
}

RankMeasurement PhaseClock::take() {
  const double per_step = 1e-9 / static_cast<double>(std::max<int64_t>(1, steps_));
  const auto average = [&](int64_t ns) { return static_cast<double>(ns) * per_step; };
  RankMeasurement measured;
  measured.phases.forward = average(forward_);
  measured.phases.backward_input = average(backward_input_);
  measured.phases.backward_weight = average(backward_weight_);
  measured.phases.optimizer = average(optimizer_);
  measured.end_wait = average(end_wait_);
  measured.phases.wait = measured.end_wait + average(gather_);
  for (const auto& [peer, ns] : waited_for_) {
    measured.waited_for.emplace_back(peer, average(ns));
    measured.phases.wait += average(ns);
  }
  *this = PhaseClock();
  return measured;
}

}  // namespace kente
