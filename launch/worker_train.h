#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/errors.h"
#include "csrc/base/progress_board.h"
#include "csrc/config/recipe.h"
#include "launch/device_flags.h"

namespace kente {

struct TrainFlags {
  std::string recipe, plan, cluster, data = "data", out, imitate;
  std::vector<std::string> overrides, checkpoint_to;
  DeviceFlags device;
  int stages = 0;
  bool resume = false, replan = false, print_config = false, quiet = false, checkpoint_wait = false,
       keep_plan = false;
  int64_t checkpoint_every = -1, keep = 3, check_replicas_every = 50, snapshot_every = -1,
          snapshot_copy_every = 10;
  double timeout = 600;
};

void add_train(Command& app, TrainFlags& flags);

/// The recipe with its overrides; a resumed run's own when none is named. Fills in where the run
/// goes.
Recipe resolve_recipe(TrainFlags& flags);

/// What main knows of this process.
struct TrainProcess {
  std::string build_id, limits;
  bool terminal = false;                   // people watch
  std::function<bool()> want_stop;         // asked between steps
  ProgressBoard* board = nullptr;          // where this rank is
  std::string shared_memory = "/dev/shm";  // where snapshots lie
  bool supervised = false;                 // somebody starts it again when it dies
};

/// kente train: chooses a plan, trains, prints how it ended. A collective.
ExitStatus run_train(const TrainFlags& flags, const Recipe& recipe, const TrainProcess& process,
                     Communicator& world);

}  // namespace kente
