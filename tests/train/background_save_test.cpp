#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

bool is_shard(const std::string& path) { return path.ends_with(".safetensors"); }

/// Training that goes on while its checkpoints are written.
class BackgroundRun : public ExactRun {
 protected:
  BackgroundRun() {
    options_.train.recipe.steps = 24;
    options_.train.background_checkpoints = true;
    options_.train.plan = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
    options_.run_directories = {fresh_directory()};
  }
  std::string events() {
    std::ostringstream text;
    text << std::ifstream(options_.run_directories[0] + "/events.jsonl").rdbuf();
    return text.str();
  }
  ThreadedRun undisturbed() {
    ThreadedOptions plain = options_;
    plain.train.background_checkpoints = false;
    plain.train.checkpoint_every = 0;
    plain.train.checkpoint_to.clear();
    plain.train.snapshot_every = 0;
    plain.on_file = nullptr;
    plain.run_directories = {fresh_directory()};
    return train_on_threads(plain, 3);
  }
  /// Rank 1's shard of the first checkpoint is not on its disk before it finished three more steps;
  /// rank 2 dies in step 12.
  void be_slow_and_die() {
    options_.on_file = [this](int rank, std::string_view operation, const std::string& path) {
      if (rank == 1 && operation == "sync" && is_shard(path) && slow_ == 0) {
        slow_ = step_.load();
        while (step_ < slow_ + 3 && !dead_) continue;
      }
    };
    options_.on_step = [this](int rank, const StepReport& report) {
      if (rank == 1) step_ = report.step;
      dead_ = report.step == 12;
      if (rank == 2 && report.step == 12) throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
    options_.on_file = nullptr;
    options_.on_step = nullptr;
  }

  std::atomic<int64_t> step_{0}, slow_{0};
  std::atomic<bool> dead_{false};
};

TEST_F(BackgroundRun, GoesOnWhileACheckpointIsWrittenWhichHoldsTheStateOfItsStep) {
  options_.train.recipe.guards.rollback_steps = 100;
  options_.train.checkpoint_every = 2;
  const ThreadedRun reference = undisturbed();
  be_slow_and_die();
  EXPECT_GE(slow_, 2);
  EXPECT_NE(events().find("\"event\":\"checkpoint left out\",\"step\":4"), std::string::npos)
      << events();
  for (const auto& step :
       std::filesystem::directory_iterator(options_.run_directories[0] + "/ckpt"))
    if (step.path().filename() > step_directory(2)) std::filesystem::remove_all(step.path());
  options_.train.start = StartMode::kResume;
  const ThreadedRun run = train_on_threads(options_, 3);
  EXPECT_EQ(run.result.resumed_from, 2);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(BackgroundRun, TakesTheStateFromTheSnapshotOfThatStep) {
  options_.train.recipe.guards.rollback_steps = 100;
  options_.train.checkpoint_every = 2;
  options_.train.snapshots = directory_ / "memory";
  options_.train.snapshot_every = 1;
  const ThreadedRun reference = undisturbed();
  be_slow_and_die();
  std::filesystem::remove_all(directory_ / "memory");
  options_.train.start = StartMode::kResume;
  const ThreadedRun run = train_on_threads(options_, 3);
  EXPECT_GE(run.result.resumed_from, 2);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(BackgroundRun, AFullDiskCostsCheckpointsAndNotTheTraining) {
  options_.train.checkpoint_every = 4;
  const ThreadedRun reference = undisturbed();
  options_.on_file = [](int rank, std::string_view operation, const std::string& path) {
    if (rank == 2 && operation == "append" && is_shard(path))
      throw StorageError(path + ": write: No space left on device");
  };
  const ThreadedRun run = train_on_threads(options_, 3);
  expect_same(run, reference);
  EXPECT_NE(events().find("\"event\":\"checkpoint failed\""), std::string::npos) << events();
  EXPECT_NE(events().find("No space left on device"), std::string::npos) << events();
  EXPECT_EQ(events().find("\"event\":\"checkpoint\""), std::string::npos) << events();
}

TEST_F(BackgroundRun, ALostRunDirectoryIsMadeGoodByTheCopies) {
  options_.train.checkpoint_every = 6;
  options_.train.checkpoint_to = {directory_ / "site"};
  const ThreadedRun reference = undisturbed();
  options_.on_step = [](int rank, const StepReport& report) {
    if (rank == 2 && report.step == 20) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  options_.on_step = nullptr;
  ThreadedOptions fresh = options_;
  fresh.run_directories = {fresh_directory()};
  EXPECT_THROW(train_on_threads(fresh, 3), UsageError) << "it would mix with what the copies hold";
  std::filesystem::remove_all(options_.run_directories[0] + "/ckpt");
  options_.train.checkpoint_to.push_back(directory_ / "no place");
  std::ofstream(directory_ / "no place") << "a file\n";
  options_.train.start = StartMode::kResume;
  const ThreadedRun run = train_on_threads(options_, 3);
  EXPECT_GE(run.result.resumed_from, 6);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
  EXPECT_NE(events().find("\"event\":\"no copies\""), std::string::npos) << events();
}

}  // namespace
}  // namespace kente
