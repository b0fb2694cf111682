#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/tiling.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/host_state.h"
#include "csrc/train/storage_domains.h"
#include "csrc/train/transfer.h"

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

/// Restores the whole training state over all ranks, whatever the plan: every tensor is stored
/// once, by one of its holders, in the directory that holder sees; sharded moments in pieces, each
/// by the rank that keeps it (csrc/train/saver.h writes them). Each rank reads what it can see
/// itself and gets the rest from a rank that sees it. One thread; every function is a collective.
class Recovery {
 public:
  /// Where states lie: checkpoints in run_directory, which must exist, and in copies; snapshots in
  /// memory.
  struct Places {
    std::string run_directory;
    std::vector<std::string> copies =
        {};                 // a second disk, another site; one that fails is left out
    std::string snapshots;  // see csrc/train/snapshots.h; empty: nobody looks there
  };
  /// timeout_seconds: how long a peer may take over its disk.
  Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log, const Places& places,
           double timeout_seconds);
  ~Recovery();
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

  /// Where checkpoints lie: that of the run directory first, then the copies that can be used.
  const std::vector<StoragePlace>& checkpoints() const { return checkpoints_; }
  /// Copies that cannot be used, and why; equal on all ranks.
  const std::vector<std::string>& left_out() const { return left_out_; }

  /// This rank's part of the training state: every tensor of the model is on one rank, sharded
  /// moments in pieces. The views stay valid as long as state.
  std::vector<NamedTensor> own_tensors(const HostState& state) const;

  struct Restored {
    Moment moment;
    std::string run_id;
    std::string from;  // for people: which place
  };
  static constexpr int64_t kNewest = std::numeric_limits<int64_t>::max();
  /// Fills the training's state (compute copies too) from the newest step that is not after at_most
  /// and complete over all directories of one place: memory, the run directory or a copy; damaged
  /// ones are passed over with a warning. Empty when there is none. Throws UsageError when that
  /// step was trained by another recipe.
  std::optional<Restored> restore(const std::string& recipe_sha256, HostState& state,
                                  int64_t at_most = kNewest);
  /// Removes all snapshots that earlier starts left, but for those of the step that was restored.
  void forget_old_snapshots();
  /// Removes those too, if there are any: newer ones are complete by now.
  void forget_restored_snapshots();
  /// Where snapshots lie; no directory when nobody looks there.
  const StoragePlace& memory() const { return memory_; }
  /// Equal on all ranks, another one every start.
  const std::string& start() const { return start_; }
  /// Removes every stored step after this one. Storage that fails is logged: such a step is only
  /// trained once more, should a later start find it.
  void forget_after(int64_t step);

 private:
  /// What lies in a place, by domain.
  using Inventories = std::vector<std::vector<StepInventory>>;
  struct Source {
    const StoragePlace* place = nullptr;
    Inventories inventories;
    std::optional<RestorePoint> newest = std::nullopt;
  };
  Inventories gather_inventories(const StoragePlace& place);
  static void refuse_two_runs(const Source& source);
  void choose_newest(Source& source, const std::vector<WantedTensor>& wanted);
  /// From memory first, where several have the newest step.
  std::vector<Source> find_sources(const std::string& recipe_sha256,
                                   const std::vector<WantedTensor>& wanted, int64_t at_most);
  std::string path_of(const Source& source, const Shard& shard) const;
  void keep_restored(const RestorePoint& point);
  /// A stored tensor and where it goes.
  struct Transfer {
    const TensorSource* source = nullptr;
    TensorMove move;
  };
  /// Of the whole model, in the one order in which all ranks go through them.
  std::vector<Transfer> transfers(const Source& from, const HostState& state) const;
  using Readers = std::map<size_t, std::unique_ptr<ShardReader>>;  // by number of the shard
  Readers open_readers(const Source& from, const std::vector<Transfer>& transfers) const;
  /// Returns the shards that turned out damaged, as "domain file" lines of all ranks; empty: all
  /// tensors are filled.
  std::vector<std::string> fetch(const Source& source, const HostState& state);
  void by_leaders(const StoragePlace& place, const std::function<void()>& work);
  void add_copy(const std::string& directory);
  Deadline deadline() const { return Deadline::after_seconds(timeout_seconds_); }

  const Mesh& mesh_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  const double timeout_seconds_;
  std::string start_;
  std::vector<StoragePlace> checkpoints_;
  std::vector<std::string> left_out_;
  StoragePlace memory_;  // no directory when nobody looks there
  std::vector<std::map<std::pair<int64_t, std::string>, std::string>>
      copies_;                            // of snapshots, see MergedSnapshots
  std::set<std::string> restored_files_;  // snapshots that the state came from
};

}  // namespace kente
