#pragma once

#include <cstdint>
#include <map>

#include "csrc/plan/drift.h"
#include "csrc/plan/schedule.h"

namespace kente {

/// Adds up where one rank's steps go, action by action: two readings of the clock each. One thread.
class PhaseClock {
 public:
  void begin_step();
  /// An action that ran from begin_ns to end_ns on the clock of now_ns(). waited_until_ns: when a
  /// Step's wait for other ranks ended; the optimizer ran from there.
  void add(const Action& action, int64_t begin_ns, int64_t end_ns, int64_t waited_until_ns);
  /// Work of the optimizer outside the schedule: zeroing the sums.
  void add_optimizer(int64_t ns) { optimizer_ += ns; }

  /// The average step since the last take(), which is forgotten; zeros if there was none.
  RankMeasurement take();

 private:
  int64_t steps_ = 0;
  int64_t forward_ = 0, backward_input_ = 0, backward_weight_ = 0, optimizer_ = 0;
  int64_t end_wait_ = 0, gather_ = 0;
  int64_t first_collective_ = -1;      // of this step; -1: not reached
  std::map<int, int64_t> waited_for_;  // by neighbour
};

}  // namespace kente
