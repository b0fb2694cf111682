#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "csrc/ckpt/checkpoint.h"

namespace kente {

/// A tensor a resuming run needs, exactly as it must be stored.
struct WantedTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

/// Where to read a tensor, or a piece of it.
struct TensorSource {
  int domain = 0;    // the lowest that has it; RestorePoint::holders has all
  size_t shard = 0;  // index into manifest.shards
  StoredTensor tensor;

  /// The elements of the wanted tensor that it holds: [first(), first() + count()).
  int64_t first() const { return tensor.piece_of ? tensor.piece_of->first : 0; }
  int64_t count() const { return tensor.bytes / size_of(tensor.dtype); }
};

struct RestorePoint {
  int64_t step = 0;
  CheckpointManifest manifest;
  /// Every wanted one, by name: itself, or pieces that follow each other and cover it once.
  std::map<std::string, std::vector<TensorSource>> tensors;
  std::vector<std::vector<int>>
      holders;  // per shard of the manifest: domains that have it, ascending
  /// The manifest lies on two domains, or on the only one: the loss of one node cannot hide the
  /// step.
  bool durable = false;
};

struct RestoreChoice {
  std::optional<RestorePoint> point;     // empty: nothing that could be loaded
  std::vector<std::string> passed_over;  // newer steps and why not, one line each
};

/// The step to resume from, given what each directory (domains[i]: what domain i lists) holds: the
/// newest of which one manifest's shards are all present somewhere and hold every element of every
/// wanted tensor once, with its dtype and shape. Pure: ranks with the same inventories choose
/// alike.
///
/// A part becomes visible by one rename after it and the common manifest were synced. So a manifest
/// whose shards are all visible was complete when it was written; how many copies of the manifest
/// exist says how long it will live (durable), not whether it is right. Should two attempts at one
/// step both be complete, the one on more domains wins, then the smaller digest.
RestoreChoice newest_complete(const std::vector<std::vector<StepInventory>>& domains,
                              const std::vector<WantedTensor>& wanted);

}  // namespace kente
