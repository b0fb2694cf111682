#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/nn/ops/fixed_point.h"
#include "csrc/nn/parameters.h"
#include "csrc/plan/schedule.h"
#include "csrc/train/bucket_comms.h"
#include "csrc/train/grad_reducer.h"
#include "csrc/train/gradient_scales.h"
#include "csrc/train/optimizer.h"
#include "csrc/train/pipe_runner.h"

namespace kente {

/// What a rank tells all others with its step's vote.
struct RankSays {
  bool stop = false;              // it was asked to stop
  bool snapshot_busy = false;     // it cannot take a snapshot of this step
  bool snapshots_cost = false;    // they take too much of its time
  bool snapshots_failed = false;  // it can take no more
  bool saving = false;            // its part of a checkpoint is not done
  bool copying = false;           // its part of a copy on another node is not done
  bool replan = false;            // it has a better plan
};

/// What a step did; equal on every rank but for seconds.
struct StepReport {
  int64_t step = 0;      // from 1
  int64_t tokens = 0;    // targets that counted
  float loss = 0;        // mean nats per target
  double grad_norm = 0;  // global, before clipping
  double lr = 0;
  double seconds = 0;
  RankSays any = {};    // what some rank said
  int64_t repeats = 0;  // how often it was run again because gradients in f16 overflowed
  /// False: a gradient or loss was not finite, or beyond what EXACT holds; nothing was changed,
  /// loss and grad_norm are NaN.
  bool applied = true;
};

/// One optimizer step over all ranks: the schedule's actions, one small all_reduce, AdamW.
class Step {
 public:
  /// A collective. world, parameters and optimizer must outlive it. tensors: world for buffers on
  /// the parameters' device; null where that is the host.
  Step(const Recipe& recipe, const Plan& plan, const Mesh& mesh, Communicator& world,
       Parameters& parameters, AdamW& optimizer, double timeout_seconds,
       Communicator* tensors = nullptr);

  /// batches: this step's micro-batches if this rank holds a first chunk, else empty. says: asked
  /// once, as late as it can be told; may be empty. Throws UsageError when no target counted.
  StepReport run(int64_t step, std::vector<MicroBatch> batches,
                 const std::function<RankSays()>& says);

  /// Mean loss and tokens of held-back micro-batches, without changing anything. counts[r]:
  /// micro-batches of replica r, sizes[m]: samples in this replica's micro-batch m. Returns this
  /// rank's sums per micro-batch (head only).
  std::vector<LossSums> evaluate(const std::vector<int>& counts, const std::vector<int64_t>& sizes,
                                 std::vector<MicroBatch> batches);

  PipeRunner& runner() { return runner_; }
  GradientScales& gradient_scales() { return scales_; }
  const GradientScales& gradient_scales() const { return scales_; }

 private:
  /// What all ranks add up before the optimizer may move; integers, so order cannot matter.
  struct Vote {
    FixedLoss loss;
    int64_t tokens = 0, poison = 0, stop = 0;
    int64_t norm_whole = 0, norm_high = 0, norm_low = 0;
    int64_t snapshot_busy = 0, snapshots_cost = 0, snapshots_failed = 0, saving = 0, copying = 0;
    int64_t replan = 0;
  };
  /// Whether some stage's gradients overflowed and the step is to be run again with smaller ones. A
  /// collective where a stage computes in f16.
  bool overflowed(const Deadline& deadline);
  /// mine: this rank's part of the norm.
  void apply(const RankSays& says, const FixedNorm& mine, Vote& vote, StepReport& report);
  /// Hands the bucket's updated master weights from the rank that updated each part to all holders.
  void gather(int bucket);

  const Recipe& recipe_;
  const Mesh& mesh_;
  Communicator& world_;
  Parameters& parameters_;
  AdamW& optimizer_;
  const double timeout_seconds_;
  std::vector<ActionList> schedule_;
  std::vector<int64_t> sizes_;  // samples per micro-batch of this rank's replica
  BucketComms comms_;
  GradReducer reducer_;
  PipeRunner runner_;
  GradientScales scales_;
};

}  // namespace kente
