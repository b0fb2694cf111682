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

/// Where to read a tensor.
struct TensorSource {
  int domain = 0;    // the lowest that has it; RestorePoint::holders has all
  size_t shard = 0;  // index into manifest.shards
  StoredTensor tensor;
};

struct RestorePoint {
  int64_t step = 0;
  CheckpointManifest manifest;
  std::map<std::string, TensorSource> tensors;  // every wanted one, by name
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
/// newest of which one manifest's shards are all present somewhere and hold every wanted tensor
/// once, with its dtype and shape. Pure: ranks with the same inventories choose alike.
///
/// A part becomes visible by one rename after it and the common manifest were synced. So a manifest
/// whose shards are all visible was complete when it was written; how many copies of the manifest
/// exist says how long it will live (durable), not whether it is right. Should two attempts at one
/// step both be complete, the one on more domains wins, then the smaller digest.
RestoreChoice newest_complete(const std::vector<std::vector<StepInventory>>& domains,
                              const std::vector<WantedTensor>& wanted);

}  // namespace kente
