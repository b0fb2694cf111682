#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/base/progress_board.h"
#include "csrc/config/cluster.h"
#include "csrc/config/imitation.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/train/progress.h"
#include "csrc/train/step.h"

namespace kente {

enum class StartMode { kFresh, kResume };

/// Everything a run needs to know that is not the training itself.
struct TrainOptions {
  Recipe recipe;
  Plan plan;
  /// The profile the plan was made from, one device a rank: steps are then compared with it.
  std::optional<ClusterProfile> cluster;
  /// With cluster: another plan is taken on the way when ranks turn out slower or faster.
  bool rebalance = false;
  std::string data_directory;
  std::string run_directory;
  StartMode start = StartMode::kFresh;
  int64_t checkpoint_every = 0;  // steps; 0: only at the end, and where the guards want one
  /// Steps between snapshots in memory, which outlive the process; 0: none. Grows by itself when
  /// they cost more than 2 % of a step.
  int64_t snapshot_every = 0;
  std::string snapshots;  // where they lie, see csrc/train/snapshots.h; looked at when resuming
  /// Steps between copies of snapshots in another node's memory; 0: none.
  int64_t snapshot_copy_every = 0;
  int state_copies = 0;  // for which the plan left memory, see CostModel
  int64_t keep_checkpoints = 3;
  std::vector<std::string> checkpoint_to;  // directories that get a copy of every checkpoint
  /// Training goes on while a checkpoint is written; else it waits.
  bool background_checkpoints = false;
  int64_t check_replicas_every = 50;  // steps between comparisons of the replicas' bits; 0: never
  double timeout_seconds = 600;       // a peer silent for so long is lost
  double ceiling_seconds = 0.15;      // how long the ceiling of GEMM is measured at the start
  Ops* ops = &cpu_ops();              // what this rank computes with; must outlive the run
  Communicator* tensors = nullptr;    // what is in a GPU's memory travels by, see comm/staged.h
  std::string device;                 // the GPU's name; empty: the CPU
  std::string build_id;               // equal on all ranks, or the run does not start
  Progress::Output progress = Progress::Output::kQuiet;
  ProgressBoard* board = nullptr;      // where each rank is, for whoever watches; may be null
  std::optional<Imitation> imitation;  // devices that wait: see csrc/train/pacer.h
  std::function<bool()> want_stop;     // asked in every step; may be empty
  std::function<void(const StepReport&)> after_step;  // may be empty
  /// Called after every step with its number; tests corrupt the weights here. May be empty.
  std::function<void(int64_t, Parameters&)> touch_weights;
};

struct TrainResult {
  int64_t step = 0;  // the last one done
  int64_t resumed_from = 0;
  float loss = 0;
  std::string parameters_sha256;  // over the fp32 master weights, independent of the plan
  bool stopped = false;
};

/// Trains a recipe by a plan: start or resume, step, record, validate, checkpoint, report. A
/// collective; every rank gets the same result. Throws what a failure is: see csrc/base/errors.h.
TrainResult train(const TrainOptions& options, Communicator& world, FileSystem& files, Log& log);

}  // namespace kente
