#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/config/cluster.h"
#include "csrc/config/imitation.h"
#include "csrc/config/recipe.h"
#include "csrc/device/device.h"
#include "csrc/nn/ops/ops.h"
#include "csrc/report/finding.h"

namespace kente {

/// kQuick: at most about 20 s on 4 ranks, seconds for small recipes. kFull: at most 3 minutes.
enum class BenchMode { kQuick, kFull };

struct BenchOptions {
  Recipe recipe;
  BenchMode mode = BenchMode::kQuick;
  std::string out_directory;           // on every rank; where storage is timed
  std::optional<Imitation> imitation;  // equal on all ranks
  std::string build_id, mpi_version;
  Ops* ops = &cpu_ops();            // what this rank computes with
  Communicator* tensors = nullptr;  // see TrainOptions
  DeviceFacts gpu;                  // what ops are, if a GPU
  std::string limits;               // what launch knows of limits put on this process
  double timeout_seconds = 600;
  std::function<void(const std::string&)> progress;  // what is measured now; may be empty
};

struct Measurement {
  ClusterProfile cluster;         // one device a rank: "rank-0", ...
  std::vector<Finding> findings;  // none of kStop
  double seconds = 0;
};

/// Measures devices and links for a recipe's layers. A collective; every rank gets the same.
/// Throws UsageError for what makes a run impossible (unlike builds or recipes, no memory for one
/// block), before anything is measured.
Measurement measure_cluster(const BenchOptions& options, Communicator& world, FileSystem& files,
                            Log& log);

/// Whether a profile was measured on these ranks, for these layers, by this build. Takes
/// milliseconds. A collective; every rank gets the same.
bool still_holds(const ClusterProfile& cluster, const BenchOptions& options, Communicator& world);

}  // namespace kente
