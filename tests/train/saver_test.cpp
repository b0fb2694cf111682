#include "csrc/train/saver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>

#include "csrc/base/errors.h"
#include "csrc/base/log_file.h"
#include "tests/support/hooked_file_system.h"
#include "tests/support/on_threads.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

bool holds_tensors(const std::string& path) { return path.ends_with(".safetensors"); }

/// One rank's part of a state: a tensor of its own whose elements are all alike.
struct RankState {
  RankState(int rank, float value) : values(100000, value) {
    tensors = {{.name = "rank" + std::to_string(rank),
                .shape = {static_cast<int64_t>(values.size())},
                .data = {.data = values.data(),
                         .count = static_cast<int64_t>(values.size()),
                         .dtype = DType::kF32}}};
  }
  std::vector<float> values;
  std::vector<NamedTensor> tensors;
};

class SaverTest : public testing::Test {
 protected:
  static CheckpointManifest manifest_of(int64_t step) {
    CheckpointManifest manifest;
    manifest.step = step;
    manifest.run_id = "0123456789abcdef";
    manifest.recipe_sha256 = std::string(64, 'a');
    return manifest;
  }
  /// Places that both ranks share.
  std::vector<StoragePlace> places(int count) {
    std::vector<StoragePlace> all;
    for (int i = 0; i < count; ++i) {
      const std::string path = directory_ / ("place" + std::to_string(i)) + "/ckpt";
      std::filesystem::create_directories(path);
      all.push_back({.directory = path, .domains = {.domain_of = {0, 0}, .leader_of = {0}}});
    }
    return all;
  }
  /// Every element that a directory holds of a step, over all shards; empty: they differ.
  std::optional<float> value_of(const std::string& directory, int64_t step) {
    std::optional<float> value;
    for (const StepInventory& entry : list_checkpoints(*files_, directory)) {
      if (entry.step != step) continue;
      EXPECT_TRUE(entry.sound());
      EXPECT_EQ(entry.manifest.shards.size(), 2u);
      for (const Shard& shard : entry.manifest.shards)
        for (const StoredTensor& tensor : shard.tensors) {
          std::vector<float> read(static_cast<size_t>(tensor.bytes) / sizeof(float));
          ShardReader(*files_, directory + "/" + step_directory(step) + "/" + shard.file, shard)
              .read(tensor, read.data());
          if (!value) value = read.front();
          for (const float x : read)
            if (x != *value) return std::nullopt;
        }
    }
    return value;
  }

  TemporaryDirectory directory_;
  const std::unique_ptr<FileSystem> files_ = posix_file_system();
};

TEST_F(SaverTest, StoresTheStateOfItsStepWhateverChangesLater) {
  const std::vector<StoragePlace> all = places(1);
  int64_t step = 0;
  for (const bool prepared : {true, false})
    for (const Saver::Source source : {Saver::Source::kCopied, Saver::Source::kReleased}) {
      ++step;
      std::atomic<int> changed{0};
      on_threads(2, [&](Communicator& world) {
        // Nothing is written before both states have changed.
        HookedFileSystem files([&](std::string_view operation, const std::string& path) {
          while (operation == "append" && holds_tensors(path) && changed < 2) continue;
        });
        const auto log = null_log();
        RankState state(world.rank(), static_cast<float>(step));
        Saver saver(all, world, files, *log, 60);
        if (prepared) saver.prepare(state.tensors);
        std::atomic<bool> released{false};
        saver.begin(manifest_of(step), state.tensors, source, {}, [&] { released = true; });
        while (source == Saver::Source::kReleased && !released) continue;
        std::fill(state.values.begin(), state.values.end(), -1.0F);
        ++changed;
        const std::vector<Saver::News> news = saver.finish();
        ASSERT_EQ(news.size(), 1u);
        EXPECT_EQ(news[0].event, Saver::kStored);
        EXPECT_EQ(news[0].step, step);
        EXPECT_FALSE(saver.active());
      });
      EXPECT_EQ(value_of(all[0].directory, step), static_cast<float>(step)) << prepared;
    }
}

TEST_F(SaverTest, AStepThatTheMediumDoesNotHoldIsTakenAwayAndOlderOnesStay) {
  const std::vector<StoragePlace> all = places(1);
  on_threads(2, [&](Communicator& world) {
    int64_t step = 1;
    // As the second is committed, a bit of one rank's shard turns.
    HookedFileSystem files([&](std::string_view operation, const std::string& path) {
      if (operation != "rename" || step != 2 || !path.ends_with(step_directory(2))) return;
      for (const auto& entry : std::filesystem::recursive_directory_iterator(all[0].directory))
        if (entry.path().filename() == "rank-0001.safetensors" &&
            entry.path().string().find(".tmp") != std::string::npos) {
          std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
          file.seekp(-1, std::ios::end);
          file.put('x');
        }
    });
    const auto log = null_log();
    RankState state(world.rank(), 1);
    Saver saver(all, world, files, *log, 60);
    for (; step <= 3; ++step) {
      saver.begin(manifest_of(step), state.tensors, Saver::Source::kBorrowed, {.newest = 1});
      const std::vector<Saver::News> news = saver.finish();
      ASSERT_EQ(news.size(), 1u);
      EXPECT_EQ(news[0].event, step == 2 ? "checkpoint failed" : Saver::kStored);
      if (world.rank() == 0) {
        EXPECT_EQ(step == 2, news[0].detail.find("unlike what was written") != std::string::npos);
        EXPECT_EQ(files_->list(all[0].directory),
                  std::vector<std::string>{step_directory(step == 2 ? 1 : step)});
      }
      world.barrier(Deadline::after_seconds(60));
    }
  });
}

TEST_F(SaverTest, WithoutMemoryForACopyTheStateIsNeededUntilItIsWritten) {
  const std::vector<StoragePlace> all = places(1);
  int64_t step = 0;
  for (const Saver::Source source : {Saver::Source::kCopied, Saver::Source::kReleased}) {
    ++step;
    on_threads(2, [&](Communicator& world) {
      std::atomic<bool> written{false};
      HookedFileSystem files([&](std::string_view operation, const std::string& path) {
        if (operation == "close" && holds_tensors(path)) written = true;
      });
      const auto log = null_log();
      RankState state(world.rank(), static_cast<float>(step));
      // So many ranks share this node that none may have a copy.
      const std::vector<StoragePlace> crowded = {
          {.directory = all[0].directory,
           .domains = {.domain_of = std::vector<int>(1 << 24, 0), .leader_of = {0}}}};
      Saver saver(crowded, world, files, *log, 60);
      std::atomic<bool> released{false};
      saver.begin(manifest_of(step), state.tensors, source, {}, [&] {
        EXPECT_TRUE(written);
        released = true;
      });
      while (source == Saver::Source::kReleased && !released) continue;
      EXPECT_TRUE(written);
      std::fill(state.values.begin(), state.values.end(), -1.0F);
      saver.finish();
    });
    EXPECT_EQ(value_of(all[0].directory, step), static_cast<float>(step));
  }
}

TEST_F(SaverTest, WhatFailsIsReleasedToo) {
  const std::vector<StoragePlace> crowded = {
      {.directory = places(1)[0].directory,
       .domains = {.domain_of = std::vector<int>(1 << 24, 0), .leader_of = {0}}}};
  on_threads(2, [&](Communicator& world) {
    HookedFileSystem files([&](std::string_view operation, const std::string& path) {
      if (operation == "append") throw StorageError(path + ": No space left on device");
    });
    const auto log = null_log();
    RankState state(world.rank(), 1);
    Saver saver(crowded, world, files, *log, 60);
    std::atomic<bool> released{false};
    saver.begin(manifest_of(1), state.tensors, Saver::Source::kReleased, {},
                [&] { released = true; });
    EXPECT_EQ(saver.finish().at(0).event, "checkpoint failed");
    EXPECT_TRUE(released);
  });
}

TEST_F(SaverTest, AFaultAtAnyOperationCostsThatCheckpointAndNothingElse) {
  bool reached = true;
  int failures = 0;
  for (int faulty_rank = 0; faulty_rank < 2; ++faulty_rank, reached = true)
    for (int index = 0; reached; ++index) {
      std::filesystem::remove_all(directory_.path());
      const std::vector<StoragePlace> all = places(1);
      std::atomic<int> count{0};
      std::atomic<bool> armed{false};
      std::vector<Saver::News> news;
      on_threads(2, [&](Communicator& world) {
        const int rank = world.rank();
        HookedFileSystem files([&, rank](std::string_view operation, const std::string& path) {
          if (armed && rank == faulty_rank && count++ == index)
            throw StorageError(path + ": " + std::string(operation) + ": No space left on device");
        });
        const auto log = null_log();
        RankState state(rank, 1);
        Saver saver(all, world, files, *log, 60);
        for (const int64_t step : {1, 2, 3}) {
          std::fill(state.values.begin(), state.values.end(), static_cast<float>(step));
          world.barrier(Deadline::after_seconds(60));
          armed = step == 2;
          world.barrier(Deadline::after_seconds(60));
          saver.begin(manifest_of(step), state.tensors, Saver::Source::kBorrowed, {.newest = 2});
          const std::vector<Saver::News> told = saver.finish();
          if (rank == 0 && step == 2) news = told;
        }
      });
      reached = count > index;
      ASSERT_FALSE(news.empty());
      failures += news[0].event == "checkpoint failed";
      EXPECT_EQ(news[0].event == "checkpoint failed",
                news[0].detail.find("No space left") != std::string::npos)
          << news[0].detail;
      EXPECT_EQ(value_of(all[0].directory, 3), 3.0F) << faulty_rank << " " << index;
      EXPECT_TRUE(value_of(all[0].directory, 2) == 2.0F || news[0].event == "checkpoint failed")
          << faulty_rank << " " << index;
      for (const std::string& name : files_->list(all[0].directory))
        EXPECT_FALSE(name.starts_with(".tmp")) << name << " " << faulty_rank << " " << index;
    }
  EXPECT_GE(failures, 10);
}

TEST_F(SaverTest, EveryPlaceGetsACopyAndOneThatFailsCostsNoOther) {
  for (const bool broken : {false, true}) {
    std::filesystem::remove_all(directory_.path());
    const std::vector<StoragePlace> all = places(3);
    std::vector<Saver::News> news;
    on_threads(2, [&](Communicator& world) {
      const int rank = world.rank();
      HookedFileSystem files([&, rank](std::string_view operation, const std::string& path) {
        if (broken && rank == 1 && operation == "sync" && path.starts_with(all[1].directory))
          throw StorageError(path + ": Input/output error");
      });
      const auto log = null_log();
      RankState state(rank, 7);
      Saver saver(all, world, files, *log, 60);
      saver.begin(manifest_of(5), state.tensors, Saver::Source::kBorrowed, {});
      const std::vector<Saver::News> told = saver.finish();
      if (rank == 0) news = told;
    });
    EXPECT_EQ(news.front().event, Saver::kStored);
    EXPECT_EQ(news.size(), broken ? 2u : 1u);
    if (broken) {
      EXPECT_EQ(news.back().event, "copy failed");
      EXPECT_NE(news.back().detail.find("Input/output error"), std::string::npos);
    }
    EXPECT_EQ(value_of(all[0].directory, 5), 7.0F);
    EXPECT_EQ(value_of(all[2].directory, 5), 7.0F);
    EXPECT_EQ(value_of(all[1].directory, 5).has_value(), !broken);
    EXPECT_TRUE(files_->list(all[1].directory).empty() == broken) << "nothing half done is left";
  }
}

TEST_F(SaverTest, WhatEarlierProcessesLeftIsRemovedAtTheStart) {
  const std::vector<StoragePlace> all = places(2);
  for (const StoragePlace& place : all)
    std::filesystem::create_directories(place.directory + "/.tmp-0123456789abcdef-5-1");
  on_threads(2, [&](Communicator& world) {
    const auto log = null_log();
    const Saver saver(all, world, *files_, *log, 60);
  });
  for (const StoragePlace& place : all) EXPECT_TRUE(files_->list(place.directory).empty());
}

TEST(StateCopy, WithoutMemoryForItSaysSo) {
  std::vector<float> few(1);
  constexpr int64_t kCount = int64_t{1} << 52;
  const std::vector<NamedTensor> huge = {
      {.name = "a",
       .shape = {kCount},
       .data = {.data = few.data(), .count = kCount, .dtype = DType::kF32}}};
  try {
    const StateCopy copy(huge, 1);
    FAIL() << "so much memory no machine has";
  } catch (const StorageError& failure) {
    EXPECT_NE(std::string(failure.what()).find("MiB are free"), std::string::npos);
  }
}

}  // namespace
}  // namespace kente
