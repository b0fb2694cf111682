#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "csrc/base/errors.h"
#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/faulty_file_system.h"

namespace kente {
namespace {

constexpr const char* kDirectory = "/run/ckpt";

enum class AfterFault { kEnds, kGoesOn };

/// What a run does after a step: a checkpoint, another one, then the first is dropped, then a
/// third. At a fault the process ends, and what it leaves is what the test is about; or training
/// goes on. Returns the last step whose commit() returned.
int64_t run_of_three(FileSystem& files, int64_t after = 0, AfterFault then = AfterFault::kEnds) {
  int64_t committed = -1;
  for (const int64_t step : {after + 10, after + 20, after + 30}) {
    try {
      remove_leftovers(files, kDirectory);
      write_small_checkpoint(files, kDirectory, step);
      committed = step;
      retain(files, kDirectory, 1);
    } catch (const StorageError&) {
      if (then == AfterFault::kEnds) break;
    }
  }
  return committed;
}

int64_t operations_of_a_run() {
  FaultyFileSystem files;
  files.make_directories("/run");
  files.set_fault(-1, Fault::kFail);
  EXPECT_EQ(run_of_three(files), 30);
  return files.operations();
}

TEST(Durability, NewestCommittedStepLoadsAfterAFaultAtAnyOperation) {
  const int64_t operations = operations_of_a_run();
  ASSERT_GT(operations, 50);
  for (int64_t index = 0; index < operations; ++index)
    for (const Fault fault : {Fault::kFail, Fault::kTorn, Fault::kPowerCut})
      for (const Unsynced unsynced : {Unsynced::kLost, Unsynced::kEntriesOnly, Unsynced::kKept}) {
        FaultyFileSystem files;
        files.make_directories("/run");
        files.sync_directory("/");
        files.set_fault(index, fault);
        const int64_t committed = run_of_three(files);
        files.power_cycle(unsynced);
        ASSERT_GE(load_newest(files, kDirectory), committed)
            << "operation " << index << " fault " << static_cast<int>(fault) << " unsynced "
            << static_cast<int>(unsynced);
      }
}

TEST(Durability, NewestCommittedStepLoadsFromADiskThatWasFullOrLostWhatItShouldSync) {
  const int64_t operations = operations_of_a_run();
  for (int64_t index = 0; index < operations; ++index)
    for (const Fault fault : {Fault::kFail, Fault::kFull, Fault::kLostSync})
      for (const Unsynced unsynced : {Unsynced::kLost, Unsynced::kEntriesOnly, Unsynced::kKept}) {
        FaultyFileSystem files;
        files.make_directories("/run");
        files.sync_directory("/");
        files.set_fault(index, fault);
        const int64_t committed = run_of_three(files, 0, AfterFault::kGoesOn);
        const std::string where = "operation " + std::to_string(index) + " fault " +
                                  std::to_string(static_cast<int>(fault));
        ASSERT_TRUE(files.fault_happened()) << where;
        ASSERT_GE(committed, fault == Fault::kFull ? -1 : 20) << where << ": one attempt is lost";
        ASSERT_GE(load_newest(files, kDirectory), committed) << where << ", before the power cut";
        files.power_cycle(unsynced);
        ASSERT_GE(load_newest(files, kDirectory), committed)
            << where << " unsynced " << static_cast<int>(unsynced);
      }
}

TEST(Durability, NewestCommittedStepLoadsAfterPowerCutsThatKeepWhatTheyLike) {
  const int64_t operations = operations_of_a_run();
  std::mt19937 random(20261125);
  int64_t cuts = 0;
  for (int run = 0; run < 200; ++run) {
    FaultyFileSystem files;
    files.make_directories("/run");
    files.sync_directory("/");
    // Some runs are cut again and again, at what the last cut left.
    for (int64_t newest = -1; cuts < 1000; ++cuts) {
      files.set_fault(static_cast<int64_t>(random()) % operations,
                      random() % 2 == 0 ? Fault::kTorn : Fault::kPowerCut);
      newest = std::max(newest, run_of_three(files, std::max<int64_t>(0, newest)));
      files.power_cycle_at_random(random);
      ASSERT_GE(load_newest(files, kDirectory), newest) << "run " << run << " cut " << cuts;
      if (random() % 3 == 0) break;
    }
  }
  EXPECT_GE(cuts, 200);
}

TEST(Durability, RunGoesOnAfterAFaultAtAnyOperation) {
  const int64_t operations = operations_of_a_run();
  for (int64_t index = 0; index < operations; ++index) {
    FaultyFileSystem files;
    files.make_directories("/run");
    files.sync_directory("/");
    files.set_fault(index, Fault::kPowerCut);
    run_of_three(files);
    files.power_cycle(Unsynced::kLost);
    remove_leftovers(files, kDirectory);
    write_small_checkpoint(files, kDirectory, 40);
    retain(files, kDirectory, 1);
    ASSERT_EQ(load_newest(files, kDirectory), 40) << "operation " << index;
    EXPECT_EQ(files.list(kDirectory), std::vector<std::string>{step_directory(40)});
  }
}

TEST(Durability, UncommittedAttemptIsNeverListed) {
  FaultyFileSystem files;
  write_small_checkpoint(files, kDirectory, 1);
  const SmallState state(first_shard_entries(), 2);
  CheckpointManifest manifest;
  manifest.step = 2;
  manifest.shards.push_back(
      write_shard(files, kDirectory, "a", "rank-0000.safetensors", state.tensors()));
  write_manifest(files, kDirectory, "a", manifest);
  EXPECT_EQ(load_newest(files, kDirectory), 1);
  remove_leftovers(files, kDirectory);
  EXPECT_EQ(files.list(kDirectory), std::vector<std::string>{step_directory(1)});
}

TEST(Durability, SecondCommitOfAStepTakesThePlaceOfWhatWasLeftOfTheFirst) {
  FaultyFileSystem files;
  for (const int64_t step : {4, 5}) write_small_checkpoint(files, kDirectory, step);
  files.remove(std::string(kDirectory) + "/" + step_directory(5) + "/rank-0001.safetensors");
  EXPECT_EQ(load_newest(files, kDirectory), 4);
  write_small_checkpoint(files, kDirectory, 5);
  EXPECT_EQ(load_newest(files, kDirectory), 5);
  EXPECT_EQ(files.list(kDirectory),
            (std::vector<std::string>{step_directory(4), step_directory(5)}));
}

TEST(Retain, KeepsTheNewestSoundStepsAndNeverCountsADamagedOne) {
  FaultyFileSystem files;
  for (const int64_t step : {1, 2, 3, 4}) write_small_checkpoint(files, kDirectory, step);
  files.flip_bit(std::string(kDirectory) + "/" + step_directory(4) + "/MANIFEST.json", 100, 3);
  files.remove(std::string(kDirectory) + "/" + step_directory(3) + "/rank-0001.safetensors");
  retain(files, kDirectory, 1);
  EXPECT_EQ(files.list(kDirectory),
            (std::vector<std::string>{step_directory(2), step_directory(3), step_directory(4)}));
  EXPECT_EQ(load_newest(files, kDirectory), 2);
}

}  // namespace
}  // namespace kente
