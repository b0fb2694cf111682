#pragma once

#include <cstdint>

#include "csrc/config/cluster.h"
#include "csrc/config/plan.h"

namespace kente {

enum class LayerPass { kForward, kLoss, kBackwardInput, kBackwardWeight };

/// What a layer has just done for one micro-batch.
struct LayerOp {
  LayerKind layer = LayerKind::kBlock;
  LayerPass pass = LayerPass::kForward;
  int64_t samples = 0;
  /// kFull: a block's kBackwardInput began with its forward.
  Recompute recompute = Recompute::kNone;

  bool operator==(const LayerOp&) const = default;
};

}  // namespace kente
