#include "csrc/train/peer_copies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>

#include "csrc/base/log_file.h"
#include "tests/support/on_threads.h"
#include "tests/train/snapshot_run.h"

namespace kente {
namespace {

/// Two ranks that share no memory, each with a state of one value.
class PeerCopiesTest : public testing::Test {
 protected:
  struct Rank {
    Rank(int number, FileSystem& files, Log& log, const TemporaryDirectory& in)
        : directory(in / ("m" + std::to_string(number))),
          values(30000, 0.0F),
          tensors{{.name = "rank" + std::to_string(number),
                   .shape = {30000},
                   .data = {.data = values.data(), .count = 30000, .dtype = DType::kF32}}},
          snapshots({.directory = directory, .start = "s1", .rank = number, .every = 1}, files,
                    log) {}
    void take(int64_t step) {
      std::fill(values.begin(), values.end(), static_cast<float>(step));
      CheckpointManifest manifest;
      manifest.step = step;
      manifest.run_id = "0123456789abcdef";
      manifest.recipe_sha256 = std::string(64, 'a');
      snapshots.take(std::move(manifest), tensors, 1e9);
    }
    const std::string directory;
    std::vector<float> values;
    std::vector<NamedTensor> tensors;
    Snapshots snapshots;
  };
  /// Steps of copies that a rank's directory holds of the other rank, all bytes compared.
  std::vector<int64_t> copies_in(int rank) {
    const std::string directory = directory_ / ("m" + std::to_string(rank));
    std::vector<int64_t> steps;
    for (const StepInventory& entry : list_snapshots(*files_, directory)) {
      const auto copy = entry.manifest.state.find(kSnapshotCopy);
      if (copy == entry.manifest.state.end()) continue;
      EXPECT_TRUE(entry.sound());
      const Shard& shard = entry.manifest.shards.front();
      EXPECT_EQ(shard.tensors.front().name, "rank" + std::to_string(1 - rank));
      std::vector<float> read(30000);
      ShardReader(*files_, directory + "/" + copy->second, shard)
          .read(shard.tensors.front(), read.data());
      for (const float x : read) EXPECT_EQ(x, static_cast<float>(entry.step));
      steps.push_back(entry.step);
    }
    std::sort(steps.begin(), steps.end());
    return steps;
  }
  /// Steps of a rank's own snapshots that can be found.
  std::vector<int64_t> own_in(const Rank& rank) {
    std::vector<int64_t> steps;
    for (const StepInventory& entry : list_snapshots(*files_, rank.directory))
      if (!entry.manifest.state.contains(kSnapshotCopy)) steps.push_back(entry.step);
    std::sort(steps.begin(), steps.end());
    return steps;
  }
  void run(const std::function<void(Communicator&, Rank&, PeerCopies&)>& work) {
    on_threads(2, [&](Communicator& world) {
      const auto log = null_log();
      Rank rank(world.rank(), *files_, *log, directory_);
      PeerCopies copies({.directory = keep_in_.at(static_cast<size_t>(world.rank())),
                         .start = "s1",
                         .every = 2,
                         .timeout_seconds = 60},
                        {.domain_of = {0, 1}, .leader_of = {0, 1}}, rank.tensors, rank.snapshots,
                        world, *files_, *log);
      work(world, rank, copies);
    });
  }

  PeerCopiesTest() {
    for (const char* name : {"m0", "m1"}) {
      std::filesystem::create_directory(directory_ / name);
      keep_in_.push_back(directory_ / name);
    }
  }

  TemporaryDirectory directory_;
  std::vector<std::string> keep_in_;
  const std::unique_ptr<FileSystem> files_ = posix_file_system();
};

TEST_F(PeerCopiesTest, HoldTheStateOfTheirStepAndAlwaysOneIsWhole) {
  run([&](Communicator& world, Rank& rank, PeerCopies& copies) {
    for (const int64_t step : {2, 4, 6}) {
      rank.take(step);
      copies.begin(step);
      rank.snapshots.wait();
      // The next one is on its way into the other slot.
      EXPECT_EQ(copies_in(world.rank()).empty(), step == 2);
      copies.finish();
      // Training has long gone on.
      std::fill(rank.values.begin(), rank.values.end(), -1.0F);
    }
  });
  EXPECT_EQ(copies_in(0), (std::vector<int64_t>{4, 6}));
  EXPECT_EQ(copies_in(1), (std::vector<int64_t>{4, 6}));
}

TEST_F(PeerCopiesTest, EachRankKeepsItsOwnPartOfTheCopiedStepHoweverFarTrainingGoes) {
  run([&](Communicator&, Rank& rank, PeerCopies& copies) {
    for (int64_t step = 1; step <= 20; ++step) {
      EXPECT_FALSE(rank.snapshots.busy()) << "a slot is free while two are pinned";
      rank.take(step);
      rank.snapshots.wait();
      if (step % 10 == 0) copies.begin(step);
      while (step == 11 && copies.working()) continue;  // has room by now
      if (step % 10 == 3) copies.finish();
      // What copies hold on the other node is here too: the newest whole one, and the next.
      const std::vector<int64_t> own = own_in(rank);
      EXPECT_EQ(std::count(own.begin(), own.end(), 10), step >= 10 ? 1 : 0) << step;
    }
    copies.finish();
    EXPECT_EQ(own_in(rank), (std::vector<int64_t>{10, 18, 19, 20}));
    rank.take(21);
    rank.snapshots.wait();
    EXPECT_EQ(own_in(rank), (std::vector<int64_t>{18, 19, 20, 21}))
        << "step 10 was no longer needed";
  });
}

TEST_F(PeerCopiesTest, AfterGoingBackWhatIsNewerIsNotFoundAndClearLeavesNothing) {
  run([&](Communicator& world, Rank& rank, PeerCopies& copies) {
    for (const int64_t step : {2, 4}) {
      rank.take(step);
      copies.begin(step);
      copies.finish();
    }
    copies.forget_after(2);
    EXPECT_EQ(copies_in(world.rank()), std::vector<int64_t>{2});
    copies.clear();
    rank.snapshots.clear();
    EXPECT_TRUE(files_->list(keep_in_.at(static_cast<size_t>(world.rank()))).empty());
  });
}

TEST_F(PeerCopiesTest, AStepThatIsTakenAnewIsFoundOnce) {
  run([&](Communicator&, Rank& rank, PeerCopies&) {
    for (const int64_t step : {1, 2, 2}) {
      rank.take(step);
      rank.snapshots.wait();
    }
    EXPECT_EQ(own_in(rank), (std::vector<int64_t>{2, 2}));
    rank.snapshots.forget_twins();
    EXPECT_EQ(own_in(rank), (std::vector<int64_t>{2}));
  });
}

TEST_F(PeerCopiesTest, WithoutRoomOnOneNodeAllGiveUpTogether) {
  keep_in_[1] = directory_ / "no place";
  run([&](Communicator&, Rank& rank, PeerCopies& copies) {
    rank.take(2);
    copies.begin(2);
    copies.finish();
    EXPECT_TRUE(copies.failed());
    EXPECT_FALSE(copies.on());
    EXPECT_FALSE(rank.snapshots.busy());
  });
}

TEST_F(PeerCopiesTest, ARankThatTookNoSnapshotLetsTheOthersKnow) {
  run([&](Communicator& world, Rank& rank, PeerCopies& copies) {
    if (world.rank() == 0) rank.take(2);
    copies.begin(2);
    copies.finish();
    EXPECT_TRUE(copies.failed());
  });
  EXPECT_TRUE(copies_in(1).empty());
}

/// Training on two nodes that share nothing: ranks 0 and 1 on one, rank 2 on the other.
class TwoNodes : public SnapshotRun {
 protected:
  TwoNodes() {
    options_.train.recipe.steps = 60;
    options_.train.snapshot_copy_every = 2;
  }
  /// Trains until both nodes hold a copy of the other's state, and for so many steps more.
  void die_with_copies(int64_t steps_later = 0) {
    options_.run_directories = {fresh_directory(), fresh_directory(), fresh_directory()};
    options_.snapshot_directories = {directory_ / "m0", directory_ / "m0", directory_ / "m1"};
    options_.train.start = StartMode::kFresh;
    options_.train.plan = unequal_;
    int64_t whole = 0;
    options_.on_step = [&](int rank, const StepReport& report) {
      if (rank != 2) return;
      if (whole == 0 && both_have_copies()) whole = report.step;
      if ((whole > 0 && report.step >= whole + steps_later) || report.step == 55)
        throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, 3), DeviceError);
    options_.on_step = nullptr;
    EXPECT_TRUE(both_have_copies());
  }
  bool both_have_copies() {
    for (const char* node : {"m0", "m1"}) {
      const auto all = list_snapshots(*files_, directory_ / node);
      const auto is_copy = [](const StepInventory& entry) {
        return entry.manifest.state.contains(kSnapshotCopy);
      };
      // Rank 2 keeps those of two ranks.
      if (std::count_if(all.begin(), all.end(), is_copy) < (node == std::string("m1") ? 2 : 1))
        return false;
    }
    return true;
  }
  /// What a node had, on disk and in memory, is gone.
  void lose(int node) {
    std::filesystem::remove_all(directory_ / ("m" + std::to_string(node)));
    for (size_t rank = 0; rank < 3; ++rank)
      if ((rank == 2) == (node == 1)) std::filesystem::remove_all(options_.run_directories[rank]);
  }
  /// One rank on the node that is left.
  void use_only(int node) {
    options_.run_directories = {options_.run_directories[node == 0 ? 0 : 2]};
    options_.snapshot_directories = {directory_ / ("m" + std::to_string(node))};
  }
};

TEST_F(TwoNodes, TheLossOfEitherCostsAFewStepsAndNoBit) {
  const ThreadedRun reference = undisturbed();
  for (const int lost : {0, 1})
    for (const bool comes_back : {false, true}) {
      die_with_copies();
      lose(lost);
      if (!comes_back) use_only(1 - lost);
      const ThreadedRun run = comes_back ? resume(pipeline_, 3) : resume(one_, 1);
      EXPECT_GE(run.result.resumed_from, 1) << lost << comes_back;
      EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
      EXPECT_FALSE(std::filesystem::exists(directory_ / "m0")) << "cleans up after itself";
      EXPECT_FALSE(std::filesystem::exists(directory_ / "m1"));
    }
}

TEST_F(TwoNodes, LongAfterTheLastCopyTheLossStillGoesBackToIt) {
  options_.train.snapshot_copy_every = 1000;  // only the one at the start
  die_with_copies(20);
  lose(0);
  use_only(1);
  const ThreadedRun run = resume(one_, 1);
  EXPECT_GE(run.result.resumed_from, 1);
  EXPECT_EQ(run.result.parameters_sha256, undisturbed().result.parameters_sha256);
}

TEST_F(TwoNodes, ADamagedCopyIsNotTaken) {
  die_with_copies();
  lose(1);
  use_only(0);
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "m0")) {
    const std::string path = entry.path().string();
    if (path.find("-copy-") == std::string::npos || entry.path().extension() == ".json") continue;
    std::fstream file(path, std::ios::in | std::ios::out);
    file.seekp(20000);
    file << "x";
  }
  EXPECT_EQ(resume(one_, 1).result.resumed_from, 0) << "there is nothing else";
}

}  // namespace
}  // namespace kente
