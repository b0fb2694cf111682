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

/// Where training stands, apart from its tensors.
struct Moment {
  int64_t step = 0;
  int64_t samples = 0;                       // consumed so far
  std::map<std::string, std::string> state;  // what else decides how it goes on
};

/// A manifest without shards.
CheckpointManifest manifest_of(const Moment& moment, const RunIdentity& run);

/// Saves and restores the whole training state over all ranks, whatever the plan: every tensor is
/// stored once, by one of its holders, in the run directory that holder sees; sharded moments in
/// pieces, each by the rank that keeps it. On the way back each rank reads what it can see itself
/// and gets the rest from a rank that sees it. One thread; every function is a collective.
class Recovery {
 public:
  /// Where states lie: checkpoints in run_directory, which must exist, and snapshots in memory.
  struct Places {
    std::string run_directory;
    std::string snapshots;  // see csrc/train/snapshots.h; empty: nobody looks there
  };
  /// timeout_seconds: how long a peer may take over its disk.
  Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log, const Places& places,
           double timeout_seconds);
  ~Recovery();
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

  /// This rank's part of the training state: every tensor of the model is on one rank, sharded
  /// moments in pieces. The views stay valid as long as parameters and optimizer.
  std::vector<NamedTensor> own_tensors(const Parameters& parameters, const AdamW& optimizer) const;

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
    bool from_memory = false;
  };
  static constexpr int64_t kNewest = std::numeric_limits<int64_t>::max();
  /// Fills parameters (compute copies too) and, unless null, the optimizer from the newest step
  /// that is not after at_most and complete over all directories, in memory or on disk; damaged
  /// ones are passed over with a warning. Empty when there is none. Throws UsageError when that
  /// step was trained by another recipe.
  std::optional<Restored> restore(const std::string& recipe_sha256, Parameters& parameters,
                                  AdamW* optimizer, int64_t at_most = kNewest);
  /// Removes all snapshots that earlier starts left, but for those of the step that was restored.
  void forget_old_snapshots();
  /// Removes those too, if there are any: newer ones are complete by now.
  void forget_restored_snapshots();
  /// Equal on all ranks, another one every start.
  const std::string& start() const { return start_; }
  /// Removes every stored step after this one. Storage that fails is logged: such a step is only
  /// trained once more, should a later start find it.
  void forget_after(int64_t step);

 private:
  Shard write_own_shard(const std::string& id, const Parameters& parameters,
                        const AdamW& optimizer);
  /// One place of stored states: who sees what of it, and what lies there.
  struct Tier {
    std::string directory;
    bool memory = false;
    StorageDomains domains = {};
    std::vector<std::vector<StepInventory>> inventories = {};  // by domain

    std::string path(const RestorePoint& point, const Shard& shard) const;
  };
  std::vector<std::vector<StepInventory>> gather_inventories(const Tier& tier);
  /// Returns the shards that turned out damaged, as "domain file" lines of all ranks; empty: all
  /// tensors are filled.
  std::vector<std::string> fetch(const Tier& tier, const RestorePoint& point,
                                 const Parameters& parameters, AdamW* optimizer);
  void by_leaders(const Tier& tier, const std::function<void()>& work);
  Deadline deadline() const { return Deadline::after_seconds(timeout_seconds_); }
  int domain_in(const Tier& tier) const {
    return tier.domains.domain_of.at(static_cast<size_t>(world_.rank()));
  }
  bool leads_in(const Tier& tier) const {
    return tier.domains.leader_of.at(static_cast<size_t>(domain_in(tier))) == world_.rank();
  }

  const Mesh& mesh_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  const double timeout_seconds_;
  std::string start_;
  Tier disk_, memory_;                    // memory_: no directory when nobody looks there
  std::set<std::string> restored_files_;  // snapshots that the state came from
  int64_t attempts_ = 0;
};

}  // namespace kente
