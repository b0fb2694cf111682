#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/train/trainer.h"

namespace kente {

struct ThreadedRun {
  std::vector<StepReport> steps;  // as rank 0 saw them
  TrainResult result;             // rank 0's

  /// The fp32 losses as hex digits, one per step.
  std::vector<std::string> loss_bits() const;
};

/// Trains with one thread a rank. run_directories: one for all ranks, or one per rank (ranks then
/// share nothing). on_step is called on every rank after each step; what a rank throws ends the run
/// and is rethrown.
struct ThreadedOptions {
  TrainOptions train;  // recipe, plan, data_directory, start, checkpoint_every
  std::vector<std::string> run_directories;
  std::vector<std::string> snapshot_directories;  // one per rank; empty: train.snapshots for all
  std::function<void(int rank, const StepReport&)> on_step;
  /// A rank's training; the default is the CPU's.
  std::function<TrainResult(const TrainOptions&, Communicator&, FileSystem&, Log&)> train_rank =
      kente::train;
  /// Before every operation of a rank that changes a file; may be empty.
  std::function<void(int rank, std::string_view operation, const std::string& path)> on_file;
};
ThreadedRun train_on_threads(const ThreadedOptions& options, int ranks);

}  // namespace kente
