#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/checkpoint.h"

namespace kente {

/// Where snapshots of a run lie on this node: in shared_memory, a directory of this user's for runs
/// in a directory of this name.
std::string snapshot_directory(const std::string& shared_memory, const std::string& run_directory);

/// A rank's part of a training state in memory that outlives the process: a safetensors file in
/// shared memory, and beside it a manifest of this one shard, which is there only while the file is
/// whole and its digests are known. A process that dies at any point leaves either both or no
/// manifest. One thread at a time.
class SnapshotSlot {
 public:
  /// Allocates directory/<name>.safetensors for these tensors, whose sizes never change. Throws
  /// StorageError when the memory is not there: nothing is left then.
  SnapshotSlot(const std::string& directory, const std::string& name,
               const std::vector<NamedTensor>& tensors);
  ~SnapshotSlot();
  SnapshotSlot(const SnapshotSlot&) = delete;
  SnapshotSlot& operator=(const SnapshotSlot&) = delete;

  /// One copy of the tensors, the same as given to the constructor. What the slot held is gone.
  void copy(const std::vector<NamedTensor>& tensors);
  /// Digests what was copied and makes it visible. manifest: all but its shards. Reads the slot
  /// once; may run on another thread while the tensors change. Throws StorageError.
  void seal(FileSystem& files, CheckpointManifest manifest);
  /// Makes visible what was received into tensors(): a copy of the slot whose manifest this is, on
  /// another node. Throws FormatError when the bytes are others.
  void seal_copy(FileSystem& files, CheckpointManifest manifest);
  /// What seal() wrote; no shards when it is not sealed.
  const CheckpointManifest& sealed() const { return sealed_; }
  /// What it holds, in the order of the tensors it was made for.
  std::vector<NamedTensor> tensors() const;
  /// Nobody will see what it holds.
  void hide();
  std::string path() const { return directory_ + "/" + shard_.file; }

 private:
  std::vector<uint64_t> digests() const;
  void publish(FileSystem& files, CheckpointManifest manifest);
  std::string manifest_path() const { return directory_ + "/" + name_ + ".json"; }

  const std::string directory_, name_;
  Shard shard_;                // without digests
  std::vector<size_t> order_;  // shard_.tensors[i] is the order_[i]-th of the given ones
  char* memory_ = nullptr;     // [shard_.bytes], mapped
  CheckpointManifest sealed_;
};

/// The key of a snapshot's manifest under which its start is named: parts of two starts never mix.
inline constexpr const char* kSnapshotStart = "snapshot_start";
/// The key under which a copy's manifest names its own file; its shard is that of the original.
inline constexpr const char* kSnapshotCopy = "snapshot_copy";

/// What a directory holds: one entry a sealed slot, with a manifest of its shard only. What cannot
/// be read is told in problem.
std::vector<StepInventory> list_snapshots(FileSystem& files, const std::string& directory);

/// What there is in memory, over all domains.
struct MergedSnapshots {
  std::vector<std::vector<StepInventory>> found;  // by domain, as newest_complete() wants it
  /// By domain: step and shard -> file in which a copy of it lies; others lie in their own.
  std::vector<std::map<std::pair<int64_t, std::string>, std::string>> copies;
};

/// Puts the parts of each step together. found[i]: what domain i lists. Parts of other recipes, of
/// another run (run_id; empty: any) or of a step after at_most are left out. Pure.
MergedSnapshots merge_snapshots(const std::vector<std::vector<StepInventory>>& found,
                                const std::string& recipe_sha256, const std::string& run_id,
                                int64_t at_most);

/// Nobody will see the slot, its file goes away; storage that fails is told in the log.
void remove_slot(FileSystem& files, std::unique_ptr<SnapshotSlot>& slot, Log& log);

/// Removes the data files for which keep says false, and their manifests first: a file without one
/// is nothing, a manifest without its file would be a lie.
void remove_snapshots(FileSystem& files, const std::string& directory,
                      const std::function<bool(const std::string& data_file)>& keep);

}  // namespace kente
