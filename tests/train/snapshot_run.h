#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/ckpt/snapshot.h"
#include "tests/train/exact_run.h"

namespace kente {

/// Training that dies and goes on from memory.
class SnapshotRun : public ExactRun {
 protected:
  SnapshotRun() {
    options_.train.recipe.steps = 24;
    options_.train.snapshots = directory_ / "memory";
    options_.train.snapshot_every = 1;
  }

  /// Trains until a rank dies after a step's end.
  void die(const Plan& plan, int ranks, int64_t step) {
    options_.train.start = StartMode::kFresh;
    options_.train.plan = plan;
    if (options_.run_directories.empty()) options_.run_directories = {fresh_directory()};
    options_.on_step = [this, step, ranks](int rank, const StepReport& report) {
      if (report.step == step && rank == ranks - 1) throw DeviceError("killed on purpose");
      if (options_.train.snapshot_every > 1) wait_for_snapshot_before(report.step);
    };
    EXPECT_THROW(train_on_threads(options_, ranks), DeviceError);
    options_.on_step = nullptr;
  }
  /// So that none is skipped because the last one is still being digested.
  void wait_for_snapshot_before(int64_t step) {
    const int64_t every = options_.train.snapshot_every, newest = (step - 1) / every * every;
    const Deadline deadline = Deadline::after_seconds(60);
    const auto is_there = [&] {
      for (const StepInventory& entry : list_snapshots(*files_, options_.train.snapshots))
        if (entry.step == newest) return true;
      return newest == 0;
    };
    while (!is_there() && !deadline.passed()) continue;
  }
  ThreadedRun resume(const Plan& plan, int ranks) {
    options_.train.start = StartMode::kResume;
    options_.train.plan = plan;
    return train_on_threads(options_, ranks);
  }
  /// Nothing is on disk. These steps take a millisecond, so a snapshot may be skipped because the
  /// last one is still being digested: how many is not for a test to say.
  static void expect_from_memory(const ThreadedRun& run, int64_t newest) {
    EXPECT_GT(run.result.resumed_from, 0);
    EXPECT_LE(run.result.resumed_from, newest);
  }
  ThreadedRun undisturbed() {
    ThreadedOptions plain = options_;
    plain.train.start = StartMode::kFresh;
    plain.train.snapshots.clear();
    plain.train.checkpoint_every = 0;
    plain.train.plan = one_;
    plain.snapshot_directories.clear();
    plain.run_directories = {fresh_directory()};
    return train_on_threads(plain, 1);
  }
  std::vector<std::string> slots() {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / "memory"))
      if (entry.path().extension() == ".safetensors") paths.push_back(entry.path().string());
    return paths;
  }

  const std::unique_ptr<FileSystem> files_ = posix_file_system();
  const Plan one_ = plan_from_borders({{0, 6}}, {16});
  const Plan pipeline_ = plan_from_borders({{0, 2, 4, 6}}, {16});
  const Plan unequal_ = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
};

}  // namespace kente
