#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "launch/mpirun_job.h"

namespace kente {

/// A second set of ranks that have everything loaded, hold no part of the model, and wait: when
/// those that train have failed these go on from what is stored, without a start of mpirun.
class Standby {
 public:
  using StartJob = std::function<std::unique_ptr<MpirunJob>()>;

  /// Called now and then while training goes on: starts them where there are none, hears them, and
  /// ends them when one of them died; then others come a while later. True once all are ready.
  bool tend(const StartJob& start, int ranks, double now);
  /// A child of this process has ended.
  void ended(pid_t pid);
  /// Hands them over if all are ready and were started with this command; what is of no use is
  /// ended.
  std::unique_ptr<MpirunJob> take(const std::vector<std::string>& command, int ranks);

 private:
  void hear();

  std::unique_ptr<MpirunJob> job_;
  std::set<int> ready_;
  bool broken_ = false;  // one of them is gone
  bool told_ = false;    // that they are ready
  double not_before_ = 0;
};

}  // namespace kente
