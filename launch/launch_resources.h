#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "comm/control.h"

namespace kente {

/// One supervisor a run, on one machine: a lock on RUN/launch.lock, which names its holder.
class RunLock {
 public:
  /// Throws UsageError when another process holds it.
  explicit RunLock(const std::string& run_directory);
  /// The process that holds it; 0: none on this machine.
  static pid_t holder(const std::string& run_directory);

 private:
  Descriptor file_;
};

/// SIGINT, SIGTERM and SIGCHLD as something that can be waited for; blocked from now on. Make it
/// before any thread.
class LaunchSignals {
 public:
  LaunchSignals();
  int fd() const { return fd_.get(); }
  void wait(double seconds) const;
  /// How many orders to stop (SIGINT, SIGTERM) arrived since the last call.
  int stop_orders() const;

 private:
  Descriptor fd_;
};

/// Where Open MPI keeps its files and shared memory of one start: a killed job leaves them behind,
/// so they are removed with the object.
class MpiScratch {
 public:
  /// Removes those of a supervisor that was killed. The run's lock must be held, and none be in
  /// use.
  static void remove_old(const std::string& run_directory);
  explicit MpiScratch(const std::string& run_directory);
  ~MpiScratch();
  MpiScratch(const MpiScratch&) = delete;
  MpiScratch& operator=(const MpiScratch&) = delete;

  /// The variables that tell Open MPI 4 and 5.
  void add_to(std::map<std::string, std::string>& environment) const;

 private:
  std::string tmp_, shm_;
};

}  // namespace kente
