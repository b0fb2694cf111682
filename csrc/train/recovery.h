#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/tiling.h"
#include "csrc/nn/parameters.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/optimizer.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// What a run is, apart from its tensors.
struct RunIdentity {
  std::string run_id;         // 16 hex digits, made at the first start
  std::string recipe_sha256;  // a checkpoint of another recipe is refused
};

/// Saves and restores the whole training state over all ranks, whatever the plan: every tensor is
/// stored once, by one of its holders, in the run directory that holder sees; sharded moments in
/// pieces, each by the rank that keeps it. On the way back each rank reads what it can see itself
/// and gets the rest from a rank that sees it. One thread; every function is a collective.
class Recovery {
 public:
  /// run_directory must exist. timeout_seconds: how long a peer may take over its disk.
  Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log,
           const std::string& run_directory, double timeout_seconds);

  /// Where training stands, apart from its tensors.
  struct Moment {
    int64_t step = 0;
    int64_t samples = 0;                       // consumed so far
    std::map<std::string, std::string> state;  // what else decides how it goes on
  };
  /// Which stored steps stay: the newest so many, and those named.
  struct Retention {
    int64_t newest = 3;
    std::set<int64_t> also;
  };
  /// Returns false, after logging why, when storage failed somewhere: the older checkpoints stay,
  /// training goes on.
  bool save(const Moment& moment, const RunIdentity& run, const Parameters& parameters,
            const AdamW& optimizer, const Retention& retention);

  struct Restored {
    Moment moment;
    std::string run_id;
  };
  static constexpr int64_t kNewest = std::numeric_limits<int64_t>::max();
  /// Fills parameters (compute copies too) and, unless null, the optimizer from the newest step
  /// that is not after at_most and complete over all directories; damaged ones are passed over with
  /// a warning. Empty when there is none. Throws UsageError when that step was trained by another
  /// recipe.
  std::optional<Restored> restore(const std::string& recipe_sha256, Parameters& parameters,
                                  AdamW* optimizer, int64_t at_most = kNewest);
  /// Removes every stored step after this one. Storage that fails is logged: such a step is only
  /// trained once more, should a later start find it.
  void forget_after(int64_t step);

 private:
  Shard write_own_shard(const std::string& id, const Parameters& parameters,
                        const AdamW& optimizer);
  std::vector<std::vector<StepInventory>> gather_inventories();
  /// Returns the shards that turned out damaged, as "domain file" lines of all ranks; empty: all
  /// tensors are filled.
  std::vector<std::string> fetch(const RestorePoint& point, const Parameters& parameters,
                                 AdamW* optimizer);
  void by_leaders(const std::function<void()>& work);
  Deadline deadline() const { return Deadline::after_seconds(timeout_seconds_); }
  int domain() const { return domains_.domain_of.at(static_cast<size_t>(world_.rank())); }
  bool leads_domain() const {
    return domains_.leader_of.at(static_cast<size_t>(domain())) == world_.rank();
  }

  const Mesh& mesh_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  const std::string directory_;  // RUN/ckpt
  const double timeout_seconds_;
  StorageDomains domains_;
  int64_t attempts_ = 0;
};

}  // namespace kente
