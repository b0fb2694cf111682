#pragma once

#include <optional>
#include <string>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/config/cluster.h"
#include "csrc/config/plan.h"
#include "csrc/measure/bench.h"

namespace kente {

/// How a run gets its plan. Paths are rank 0's: other ranks may see other disks.
struct PlanRequest {
  std::string plan;     // a file, "even", or empty: measured and planned
  std::string cluster;  // a profile to plan from in place of measuring; may be empty
  int stages = 0;       // pipeline length of the even plan; 0: any
  bool resume = false;
  bool replan = false;       // a resumed run is planned anew from what its steps measured
  bool snapshots = false;    // are taken, and want memory
  bool peer_copies = false;  // of snapshots too, where there are several nodes
  std::string run_directory;
  BenchOptions bench;  // recipe, imitation, build
};

struct ChosenPlan {
  Plan plan;
  /// What the plan was made from; empty where nothing was measured.
  std::optional<ClusterProfile> cluster;
  std::string how;       // one line for people
  bool planned = false;  // by kente: no person chose it
  int state_copies = 0;  // of snapshots for which it left memory, see CostModel
};

/// A collective; every rank gets the same plan.
///
/// A file is taken as it is. A resumed run keeps its plan, and so its bits, unless other ranks are
/// there or it is to be replanned. Everything else is planned: from the profile named, from the one
/// cached beside the run directory if it still holds, or from one measured now. Throws UsageError
/// when nothing fits, with what would.
ChosenPlan choose_plan(const PlanRequest& request, Communicator& world, FileSystem& files,
                       Log& log);

}  // namespace kente
