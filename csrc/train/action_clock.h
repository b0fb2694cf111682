#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "csrc/nn/ops/ops.h"
#include "csrc/plan/schedule.h"
#include "csrc/report/run_record.h"
#include "csrc/train/phase_clock.h"

namespace kente {

/// When each action of a rank began and ended where it computes: on the host, or, later known, on
/// its GPU. One action begins where the last one ended. One thread.
class ActionClock {
 public:
  ActionClock(Ops& ops, int rank) : rank_(rank), work_(ops.work_clock()) {}

  /// Before the first action of a step.
  void begin_step() { timed_.push_back({.what = Timed::kBeginStep}); }
  /// Work of the optimizer's that is no action.
  void time_optimizer(const std::function<void()>& work);
  /// What is queued until end() belongs to actions.
  void begin() { last_ = mark(); }
  /// The step's action has waited for other ranks; from now on it computes. The device is idle.
  void waited();
  /// An action has been carried out. counts: in phases().
  void end(const Action& action, bool counts);
  /// Takes what is known by now, if the device is done.
  void settle_if_passed();

  /// Where the time of all steps went. Waits until the device is done with them.
  PhaseClock& phases();
  /// From now on spans are recorded; take_spans() returns and forgets them.
  void record_spans(bool on) { recording_ = on; }
  std::vector<TimelineSpan> take_spans();

 private:
  /// What was timed, by the numbers of marks, whose times may come later.
  struct Timed {
    enum What { kBeginStep, kOptimizer, kAction } what = kAction;
    Action action = {};
    size_t begin = 0, waited = 0, end = 0;
    bool counts = true, recorded = false;
  };
  size_t mark();
  void settle();
  void account(const Timed& timed);
  int64_t at(size_t mark) const { return times_.at(mark - first_mark_); }
  void record(const Timed& timed);
  void record(const std::string& label, TimelineSpan::Kind kind, int64_t begin_ns, int64_t end_ns);

  const int rank_;
  const std::unique_ptr<WorkClock> work_;
  std::vector<Timed> timed_;
  std::vector<int64_t> times_;  // of marks first_mark_, ...
  size_t first_mark_ = 0, next_mark_ = 0, last_ = 0, waited_ = 0;
  PhaseClock phases_;
  bool recording_ = false;
  std::vector<TimelineSpan> spans_;
};

}  // namespace kente
