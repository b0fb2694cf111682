#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/tiling.h"

namespace kente {

/// A state of a few named tensors whose every byte follows from (step, name).
class SmallState {
 public:
  struct Entry {
    std::string name;
    DType dtype;
    std::vector<int64_t> shape;
  };
  SmallState(const std::vector<Entry>& entries, int64_t step);

  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  std::vector<WantedTensor> wanted() const;
  /// The bytes a tensor must have.
  const std::vector<char>& bytes_of(const std::string& name) const;

 private:
  std::vector<std::vector<char>> storage_;
  std::vector<NamedTensor> tensors_;
};

/// Entries of the shards of two ranks.
std::vector<SmallState::Entry> first_shard_entries();
std::vector<SmallState::Entry> second_shard_entries();

/// Writes and commits a checkpoint of one domain with two shards. Returns its manifest.
CheckpointManifest write_small_checkpoint(FileSystem& files, const std::string& directory,
                                          int64_t step);

/// The same, "layers.0.weight" cut into two pieces, one a shard.
CheckpointManifest write_small_checkpoint_in_pieces(FileSystem& files, const std::string& directory,
                                                    int64_t step);

/// The step that newest_complete() chooses in one directory, every byte of it compared with what
/// either function wrote; -1 when there is none. A difference is a test failure.
int64_t load_newest(FileSystem& files, const std::string& directory);

}  // namespace kente
