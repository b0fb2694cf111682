#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "launch/chaos.h"
#include "launch/mpirun_command.h"
#include "launch/rank_watch.h"

namespace kente {

/// How a run is supervised.
struct LaunchOptions {
  MpirunOptions mpirun;
  double host_seconds = 20;  // for a host to answer
  double host_retry = 60;    // seconds until one that was left out is asked again
  bool resume = false;       // the first start continues a run
  bool standby = false;      // keep ranks that have everything loaded, for the next start
  std::string run_directory;
  std::string control_host = "127.0.0.1";
  int64_t max_failures = 5;  // starts in a row that finish no step; then it gives up
  RankWatch::Limits limits;
  Chaos::Options chaos;
  std::string snapshots;  // where those of the run lie, for chaos
};

/// Seconds to wait before the next start after so many failures in a row: 0, 1, 2, 4, ... 60.
double back_off_seconds(int64_t failures);

/// Keeps a run alive: starts mpirun, hears its ranks, and when one dies or falls silent ends
/// everything, makes sure that nothing is left, and starts again from what is stored. Returns when
/// the run is done, was stopped (SIGINT, SIGTERM), or cannot go on. What happens goes to the run's
/// events.jsonl. Throws UsageError when another process supervises the run.
ExitStatus supervise(const LaunchOptions& options);

}  // namespace kente
