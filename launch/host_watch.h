#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/hosts.h"
#include "launch/launch_resources.h"

namespace kente {

/// Keeps track of which hosts answer. One thread, that of the supervisor.
class HostWatch {
 public:
  /// launcher: see launch/mpirun_command.h. seconds: for a host to answer.
  HostWatch(HostPool pool, std::vector<std::string> launcher, double seconds)
      : pool_(std::move(pool)), launcher_(std::move(launcher)), seconds_(seconds) {}

  const HostPool& pool() const { return pool_; }
  /// After a failure, between two starts: leaves hosts out that do not answer, or that keep
  /// failing. rank: whose fault it was, -1: nobody's. Returns a line for each. A second order to
  /// stop ends the waiting; orders counts them.
  std::vector<std::string> after_failure(int rank, const LaunchSignals& signals, int& orders);
  /// While a start goes on: hosts that were left out and answer again are in the pool from now on;
  /// returns their names.
  std::vector<std::string> come_back();
  /// A process ended.
  void ended(pid_t pid, int status) {
    if (probe_) probe_->ended(pid, status);
  }

 private:
  HostPool pool_;
  const std::vector<std::string> launcher_;
  const double seconds_;
  std::optional<HostProbe> probe_;  // of hosts that were left out
};

}  // namespace kente
