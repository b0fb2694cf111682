#include "csrc/train/snapshots.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <sstream>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/plan/memory.h"
#include "csrc/train/run_directory.h"
#include "tests/train/snapshot_run.h"

namespace kente {
namespace {

TEST_F(SnapshotRun, ARunThatDiedGoesOnFromMemoryOnAnyPlanWithTheSameBits) {
  const ThreadedRun reference = undisturbed();
  Plan sharded = unequal_;
  sharded.shard_optimizer = true;
  const std::vector<std::pair<Plan, int>> plans = {
      {one_, 1}, {pipeline_, 3}, {unequal_, 3}, {sharded, 3}};
  for (size_t before = 0; before < plans.size(); ++before) {
    const auto& [plan, ranks] = plans[before];
    options_.run_directories.clear();
    die(plan, ranks, 13);
    const auto& [other, others] = plans[(before + 1) % plans.size()];
    const ThreadedRun run = resume(other, others);
    expect_from_memory(run, 12);
    EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256) << before;
    EXPECT_FALSE(std::filesystem::exists(directory_ / "memory")) << "cleans up after itself";
  }
}

TEST_F(SnapshotRun, DyingAgainAndAgainLeavesTwoSlotsARank) {
  const ThreadedRun reference = undisturbed();
  die(unequal_, 3, 5);
  for (int64_t step = 6; step < 20; ++step) {
    options_.train.start = StartMode::kResume;
    options_.on_step = [step](int rank, const StepReport& report) {
      if (report.step == step && rank == 1) throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
    EXPECT_LE(slots().size(), 6u) << "two slots a rank, whoever left them";
  }
  options_.on_step = nullptr;
  const ThreadedRun run = resume(pipeline_, 3);
  expect_from_memory(run, 18);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(SnapshotRun, SlotsTakeTheBytesThatArePredicted) {
  Plan sharded = unequal_;
  sharded.shard_optimizer = true;
  for (const auto& [plan, ranks] : {std::pair{one_, 1}, {pipeline_, 3}, {sharded, 3}}) {
    options_.run_directories.clear();
    die(plan, ranks, 5);
    const Recipe& recipe = options_.train.recipe;
    std::map<std::string, int64_t> bytes;
    for (const std::string& path : slots()) {
      uint64_t header = 0;
      std::ifstream(path).read(reinterpret_cast<char*>(&header), sizeof header);
      bytes[path.substr(path.find("rank-"), 9)] +=
          static_cast<int64_t>(std::filesystem::file_size(path) - sizeof header - header);
    }
    const auto predicted = predict_memory(recipe, plan, make_mesh(recipe, plan, ranks), 2);
    ASSERT_EQ(bytes.size(), predicted.size());
    for (size_t rank = 0; rank < predicted.size(); ++rank)
      EXPECT_EQ(bytes["rank-000" + std::to_string(rank)], predicted[rank].snapshots);
    std::filesystem::remove_all(directory_ / "memory");
  }
}

TEST_F(SnapshotRun, AStartLikeTheOneBeforeTakesItsCeilingAnotherMeasures) {
  const auto environment = [&] {
    return RunDirectory(*files_, options_.run_directories[0]).environment().value();
  };
  die(unequal_, 3, 3);
  Environment told = environment();
  EXPECT_GT(told.gemm_flops_per_second, 1e6);
  constexpr double kTold = 12345;
  told.gemm_flops_per_second = kTold;
  RunDirectory(*files_, options_.run_directories[0]).write_environment(told);
  options_.on_step = [](int rank, const StepReport& report) {
    if (report.step == 5 && rank == 2) throw DeviceError("killed on purpose");
  };
  options_.train.start = StartMode::kResume;
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  EXPECT_EQ(environment().gemm_flops_per_second, kTold);
  options_.on_step = nullptr;
  resume(pipeline_, 3);
  EXPECT_GT(environment().gemm_flops_per_second, 1e6) << "other ranks do other work";
}

TEST_F(SnapshotRun, DamagedMemoryIsPassedOverForTheDisk) {
  const ThreadedRun reference = undisturbed();
  options_.train.checkpoint_every = 5;
  die(unequal_, 3, 13);
  for (const std::string& path : slots()) {
    const int fd = ::open(path.c_str(), O_RDWR);
    char byte = 0;
    ASSERT_EQ(::pread(fd, &byte, 1, 20000), 1);
    byte ^= 4;
    ASSERT_EQ(::pwrite(fd, &byte, 1, 20000), 1);
    ::close(fd);
  }
  const ThreadedRun run = resume(unequal_, 3);
  EXPECT_EQ(run.result.resumed_from, 10);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(SnapshotRun, WhileOneRankIsNotDoneWithTheLastNobodyTakesTheNext) {
  const ThreadedRun reference = undisturbed();
  std::atomic<int64_t> step{0}, slow{0};  // slow: the step whose seal takes three more on rank 1
  options_.on_file = [&](int rank, std::string_view operation, const std::string& path) {
    if (rank != 1 || operation != "rename" || !path.ends_with("-1.json") || slow > 0) return;
    slow = step.load();
    while (step < slow + 4) continue;
  };
  int compared = 0;
  options_.on_step = [&](int rank, const StepReport& report) {
    if (rank != 1) return;
    if (slow > 0 && report.step < slow + 4)
      for (const StepInventory& entry : list_snapshots(*files_, options_.train.snapshots)) {
        EXPECT_LE(entry.step, slow);
        ++compared;
      }
    step = report.step;
    if (report.step == 20) throw DeviceError("killed on purpose");
  };
  options_.run_directories = {fresh_directory()};
  options_.train.start = StartMode::kFresh;
  options_.train.plan = unequal_;
  EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
  EXPECT_GE(compared, 6);
  options_.on_step = nullptr;
  options_.on_file = nullptr;
  const ThreadedRun run = resume(one_, 1);
  expect_from_memory(run, 19);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(SnapshotRun, TheNewerOfMemoryAndDiskIsTaken) {
  options_.train.snapshot_every = 4;
  options_.train.checkpoint_every = 5;
  die(one_, 1, 14);
  EXPECT_EQ(resume(one_, 1).result.resumed_from, 12);
  options_.run_directories.clear();
  die(one_, 1, 11);
  EXPECT_EQ(resume(one_, 1).result.resumed_from, 10);
}

TEST_F(SnapshotRun, AFreshRunAndAnotherRecipeFindNothing) {
  die(one_, 1, 13);
  options_.train.recipe.optimizer.learning_rate *= 2;
  EXPECT_EQ(resume(one_, 1).result.resumed_from, 0);
  options_.run_directories.clear();
  options_.train.recipe.optimizer.learning_rate /= 2;
  die(one_, 1, 13);
  options_.run_directories = {fresh_directory()};
  options_.train.start = StartMode::kFresh;
  EXPECT_EQ(train_on_threads(options_, 1).result.resumed_from, 0);
}

TEST_F(SnapshotRun, WithoutMemoryForThemTrainingGoesOnAndSaysSo) {
  const ThreadedRun reference = undisturbed();
  options_.run_directories = {fresh_directory()};
  options_.train.start = StartMode::kFresh;
  options_.train.plan = unequal_;
  // The directory goes away under the run: no slot can be made any more.
  options_.on_step = [&](int, const StepReport& report) {
    if (report.step == 1) std::filesystem::remove_all(directory_ / "memory");
  };
  const ThreadedRun run = train_on_threads(options_, 3);
  expect_same(run, reference);
  std::ostringstream events;
  events << std::ifstream(options_.run_directories[0] + "/events.jsonl").rdbuf();
  EXPECT_NE(events.str().find("no snapshots"), std::string::npos) << events.str();
}

TEST_F(SnapshotRun, RanksOfNodesThatShareNothingFetchFromEachOther) {
  const ThreadedRun reference = undisturbed();
  options_.run_directories = {fresh_directory(), fresh_directory(), fresh_directory()};
  options_.snapshot_directories = {directory_ / "m0", directory_ / "m0", directory_ / "m1"};
  die(unequal_, 3, 13);
  const ThreadedRun run = resume(pipeline_, 3);
  expect_from_memory(run, 12);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

TEST_F(SnapshotRun, AfterARollBackWhatWasUndoneIsNotFound) {
  Recipe& recipe = options_.train.recipe;
  recipe.guards = {.max_skips = 1, .window_steps = 8, .spike_steps = 2, .rollback_steps = 5};
  const auto poison_once = [] {
    return
        [done = std::make_shared<std::atomic<bool>>(false)](int64_t step, Parameters& parameters) {
          if (step != 12 || done->exchange(true)) return;
          parameters.master(4).data_ptr<float>()[0] = std::numeric_limits<float>::infinity();
          parameters.refresh(4);
        };
  };
  options_.train.touch_weights = poison_once();
  const ThreadedRun reference = undisturbed();
  options_.train.touch_weights = poison_once();
  int passed = 0;
  options_.train.plan = one_;
  options_.run_directories = {fresh_directory()};
  // Step 6 for the second time: memory had steps up to 14 before training went back to 5, and what
  // the disk holds of step 5 does not know that.
  options_.on_step = [&](int, const StepReport& report) {
    if (report.step == 6 && ++passed == 2) throw DeviceError("killed on purpose");
  };
  EXPECT_THROW(train_on_threads(options_, 1), DeviceError);
  options_.on_step = nullptr;
  const ThreadedRun run = resume(one_, 1);
  EXPECT_EQ(run.result.resumed_from, 5);
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

}  // namespace
}  // namespace kente
