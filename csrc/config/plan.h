#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"

namespace kente {

/// Layers first .. last, both included. Layer 0 is the embedding, num_hidden_layers + 1 the head.
struct LayerRange {
  int first = 0;
  int last = 0;

  bool operator==(const LayerRange&) const = default;
};

enum class Recompute { kNone, kFull };
/// kZeroBubble: backwards for weights fill the waits; see csrc/plan/zero_bubble.h.
enum class ScheduleKind { kGPipe, k1F1B, kZeroBubble };
/// "GPipe", "1F1B", "zero-bubble": for people.
const char* name_of(ScheduleKind schedule);

/// What a stage's passes of one micro-batch take, and a message to or from the next stage: in
/// microseconds, but only how they compare counts. A zero-bubble schedule is laid out from them.
struct PassTimes {
  int64_t forward = 0;
  int64_t backward_input = 0;
  int64_t backward_weight = 0;
  int64_t message = 0;

  auto operator<=>(const PassTimes&) const = default;
};

/// Weights up to here add up without overflow, whatever the ranks.
inline constexpr int64_t kMaxOptimizerWeight = 1 << 30;

/// A rank's slice of layers in one replica.
struct StagePlan {
  std::vector<int> ranks;          // exactly one today
  std::vector<LayerRange> layers;  // ascending; more than one range: interleaved
  DType compute = DType::kF32;
  Recompute recompute = Recompute::kNone;
  int64_t optimizer_weight = 0;  // its part of the optimizer state; see Plan::shard_optimizer
  /// Only under kZeroBubble; all 0: as if every layer took as long.
  PassTimes times = {};

  bool operator==(const StagePlan&) const = default;
};

/// One whole copy of the model. The stages' ranges cover every layer exactly once.
struct ReplicaPlan {
  std::vector<StagePlan> stages;
  int64_t share = 0;                   // grains per step
  int64_t grains_per_micro_batch = 1;  // the last micro-batch of a step may hold fewer
  /// Only under kZeroBubble: micro-batches that a stage keeps at once, at most; 0: one a stage.
  int64_t under_way = 0;

  bool operator==(const ReplicaPlan&) const = default;
};

/// What the planner expects. Fields are 0 where it did not predict.
struct Prediction {
  double step_seconds = 0;
  double bubble = 0;                // idle time / step time
  std::vector<int64_t> peak_bytes;  // per rank
  std::string bottleneck;

  bool operator==(const Prediction&) const = default;
};

/// Who does what; changes nothing about the training. Immutable after validation.
struct Plan {
  std::vector<ReplicaPlan> replicas;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  std::optional<Prediction> prediction;
  /// Each layer's optimizer state is cut over the ranks that hold the layer, in proportion to
  /// their stages' optimizer_weight (all 0: equally); else all of them keep all of it.
  bool shard_optimizer = false;

  bool operator==(const Plan&) const = default;
};

}  // namespace kente
