#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/tiling.h"

namespace kente {

/// A checkpoint as one set of tensors, whoever wrote which part: its shards lie in one directory,
/// or in those of several nodes. One thread.
class WholeCheckpoint {
 public:
  /// directories: ckpt/ of one or several nodes, all within reach. step: empty for the newest that
  /// is complete. Throws UsageError when there is none, or that step is not complete.
  WholeCheckpoint(FileSystem& files, const std::vector<std::string>& directories,
                  std::optional<int64_t> step);

  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
    int64_t bytes = 0;
  };
  int64_t step() const { return point_.step; }
  const CheckpointManifest& manifest() const { return point_.manifest; }
  /// By name.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  int64_t bytes() const;
  /// out [tensor.bytes]. Throws FormatError when a chunk of it is damaged.
  void read(const Tensor& tensor, void* out);

 private:
  ShardReader& reader(size_t shard);

  FileSystem& files_;
  std::vector<std::string> directories_;
  RestorePoint point_;
  std::vector<Tensor> tensors_;
  std::map<size_t, std::unique_ptr<ShardReader>> readers_;
};

/// How two states differ in one tensor.
struct TensorDifference {
  std::string name;
  std::string what;  // "only in the first", "other shape", ...; empty: the numbers below
  int64_t elements = 0, differing = 0;
  double largest = 0;  // |a - b|; infinite where one is not finite and the other differs
};

/// The tensors that differ, by name; bits decide, so that equal is equal in every bit.
std::vector<TensorDifference> compare(WholeCheckpoint& a, WholeCheckpoint& b,
                                      const ByteProgress& progress = {});

/// Writes the checkpoint anew into directory, whole, as so many shards of about the same size, and
/// commits it. Needs memory for one shard. Throws StorageError.
CheckpointManifest reshard(WholeCheckpoint& from, FileSystem& files, const std::string& directory,
                           int64_t shards, const ByteProgress& progress = {});

}  // namespace kente
