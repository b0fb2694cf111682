#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "csrc/plan/cost_model.h"

namespace kente {

/// One pipeline to be tried. Blocks are alike, so a split is how many each stage holds; the first
/// stage has the embedding besides, the last the head. Stages between hold at least one block.
struct PipelineSpec {
  std::vector<int> ranks;   // per stage
  std::vector<int> blocks;  // per stage
  int64_t share = 1;        // grains per step
  int64_t grains_per_micro_batch = 1;
};

/// What one pipeline does until its gradients are ready to be reduced. Equal for pipelines of
/// alike devices over alike links: one is run for all of them. Per stage.
struct PipelineRun {
  std::vector<double> ends;  // seconds from the step's start
  std::vector<double> busy;  // seconds of compute
  std::vector<Recompute> recompute;
  std::vector<int64_t> bytes;       // predicted peak memory
  std::vector<int64_t> lacking;     // bytes beyond the limit, even with recompute; 0 where it fits
  std::vector<int64_t> parameters;  // held
  std::vector<int> stage_of_layer;  // by layer
  /// What a zero-bubble schedule was laid out from; else empty, and 0.
  std::vector<PassTimes> times;
  int64_t under_way = 0;

  double seconds() const;  // the last of ends
  int64_t total_lacking() const;
};

/// Runs pipelines through the event simulator, one at a time. Recompute only ever adds seconds, so
/// a stage gets it exactly where its activations do not fit otherwise.
class PipelineRunner {
 public:
  /// model must outlive it. memory_use: the part of a device's free memory that a plan may take.
  PipelineRunner(const CostModel& model, double memory_use);

  /// Micro-batches beyond a warm-up repeat: the run of a long share is that of two short ones, and
  /// a straight line through them. Exact to rounding where the schedule has become periodic.
  PipelineRun run(const PipelineSpec& spec, ScheduleKind schedule);

  /// Seconds that stage i of p needs for one micro-batch if it holds 0, 1, ... all blocks, with
  /// recompute where it must; infinite where it does not fit or a stage may not be empty.
  /// lacking: instead of seconds the bytes by which it does not fit.
  enum class Fill { kSeconds, kLacking };
  std::vector<std::vector<double>> stage_tables(const PipelineSpec& spec, ScheduleKind schedule,
                                                Fill fill);

  /// What the device may take, in bytes.
  int64_t limit_of(int rank) const;
  int64_t runs() const { return runs_; }

 private:
  /// Seconds of the passes of one micro-batch: embedding, block, head.
  struct Passes {
    double forward[3] = {}, backward_input[3] = {}, backward_weight[3] = {};
  };
  struct Probe;

  const Passes& passes(int device, int64_t grains);
  PipelineRun simulate_all(const PipelineSpec& spec, ScheduleKind schedule);
  Probe fitted(const PipelineSpec& spec, ScheduleKind schedule, PipelineRun& run);
  bool add_recompute(const PipelineSpec& spec, PipelineRun& run) const;
  /// Seconds of one pass of a stage's blocks and what it holds besides.
  double stage_seconds(const PipelineSpec& spec, size_t stage, Recompute recompute, ActionKind pass,
                       int64_t grains);
  std::vector<PassTimes> times_of(const PipelineSpec& spec,
                                  const std::vector<Recompute>& recompute);
  double message_seconds(const PipelineSpec& spec, size_t from, size_t to, ActionKind send,
                         int64_t grains) const;
  std::vector<int64_t> bytes_of(const Probe& probe) const;
  /// Predicted bytes if every stage held n blocks: by n, then stage. Of devices only the
  /// types matter in which they compute.
  using BytesByBlocks = std::vector<std::vector<int64_t>>;
  BytesByBlocks bytes_by_blocks(const PipelineSpec& spec, ScheduleKind schedule,
                                Recompute recompute);
  const BytesByBlocks& few_bytes_by_blocks(const PipelineSpec& spec, ScheduleKind schedule,
                                           Recompute recompute);

  const CostModel& model_;
  const double memory_use_;
  std::map<std::pair<int, int64_t>, Passes> passes_;  // by device and grains
  std::map<std::vector<int64_t>, BytesByBlocks> bytes_;
  int64_t runs_ = 0;
};

}  // namespace kente
