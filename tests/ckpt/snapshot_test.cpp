#include "csrc/ckpt/snapshot.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/ckpt/tiling.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

/// A state of two tensors that hold their step in every element.
struct State {
  explicit State(int64_t step, int64_t count = 40000)
      : a(static_cast<size_t>(count), static_cast<float>(step)), b(300, static_cast<float>(step)) {}
  std::vector<NamedTensor> tensors(const std::string& suffix = "") {
    const auto view = [](std::vector<float>& of) {
      return BufferView{
          .data = of.data(), .count = static_cast<int64_t>(of.size()), .dtype = DType::kF32};
    };
    return {{.name = "a" + suffix, .shape = {static_cast<int64_t>(a.size())}, .data = view(a)},
            {.name = "b" + suffix, .shape = {3, 100}, .data = view(b)}};
  }
  std::vector<float> a, b;
};

CheckpointManifest manifest_of(int64_t step, const std::string& start = "s1") {
  CheckpointManifest manifest;
  manifest.step = step;
  manifest.run_id = "0123456789abcdef";
  manifest.recipe_sha256 = std::string(64, 'a');
  manifest.samples = 16 * step;
  manifest.state = {{"guard", "x"}, {kSnapshotStart, start}};
  return manifest;
}

class Snapshot : public testing::Test {
 protected:
  /// Every tensor of an entry, checked against its step. Throws what reading throws.
  void expect_whole(const StepInventory& entry) {
    const Shard& shard = entry.manifest.shards.front();
    const ShardReader reader(*files_, directory_ / shard.file, shard);
    for (const StoredTensor& tensor : shard.tensors) {
      std::vector<float> read(static_cast<size_t>(tensor.bytes) / sizeof(float));
      reader.read(tensor, read.data());
      const auto is_right = [&](float x) { return x == static_cast<float>(entry.step); };
      EXPECT_TRUE(std::all_of(read.begin(), read.end(), is_right)) << tensor.name;
    }
  }
  std::vector<StepInventory> list() { return list_snapshots(*files_, directory_.path()); }

  TemporaryDirectory directory_;
  std::unique_ptr<FileSystem> files_ = posix_file_system();
};

TEST_F(Snapshot, IsThereOnlyWhileItIsWhole) {
  State state(3);
  SnapshotSlot slot(directory_.path(), "s1-rank-0000-0", state.tensors());
  EXPECT_TRUE(list().empty());
  slot.copy(state.tensors());
  EXPECT_TRUE(list().empty()) << "copied, but nobody knows its digests";
  slot.seal(*files_, manifest_of(3));
  ASSERT_EQ(list().size(), 1u);
  EXPECT_EQ(list()[0].step, 3);
  EXPECT_EQ(list()[0].manifest.state.at("guard"), "x");
  expect_whole(list()[0]);
  State next(4);
  slot.copy(next.tensors());
  EXPECT_TRUE(list().empty()) << "step 3 is gone, step 4 not there yet";
  slot.seal(*files_, manifest_of(4));
  expect_whole(list().at(0));
}

TEST_F(Snapshot, OfAProcessKilledAtAnyMomentIsOneStepOrNothing) {
  int seen = 0;
  for (int round = 0; round < 60; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      State state(1);
      SnapshotSlot even(directory_.path(), "c" + std::to_string(round) + "-rank-0000-0",
                        state.tensors()),
          odd(directory_.path(), "c" + std::to_string(round) + "-rank-0000-1", state.tensors());
      for (int64_t step = 1;; ++step) {
        State now(step);
        SnapshotSlot& slot = step % 2 == 0 ? even : odd;
        slot.copy(now.tensors());
        slot.seal(*files_, manifest_of(step));
      }
    }
    // From the first to some hundred snapshots, at no border of anything.
    const Deadline deadline = Deadline::after_seconds(60);
    while (list().empty() && !deadline.passed()) continue;
    for (const int64_t begin = now_ns(); now_ns() - begin < int64_t{137'000} * round;) continue;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (const StepInventory& entry : list()) {
      ASSERT_EQ(entry.problem, "");
      ASSERT_TRUE(entry.damaged.empty());
      expect_whole(entry);
      ++seen;
    }
    remove_snapshots(*files_, directory_.path(), [](const std::string&) { return false; });
    EXPECT_TRUE(files_->list(directory_.path()).empty());
  }
  EXPECT_GE(seen, 60) << "the slot that is not being written is whole";
}

TEST_F(Snapshot, OneFlippedBitInAnyPageIsRefused) {
  State state(3);
  SnapshotSlot slot(directory_.path(), "s1-rank-0000-0", state.tensors());
  slot.copy(state.tensors());
  slot.seal(*files_, manifest_of(3));
  const StepInventory entry = list().at(0);
  const int fd = ::open(slot.path().c_str(), O_RDWR);
  for (int64_t at = 600; at < entry.manifest.shards[0].bytes; at += 4096) {
    const auto flip = [&] {
      char byte = 0;
      ASSERT_EQ(::pread(fd, &byte, 1, at), 1);
      byte = static_cast<char>(byte ^ (1 << (at / 4096 % 8)));
      ASSERT_EQ(::pwrite(fd, &byte, 1, at), 1);
    };
    flip();
    EXPECT_THROW(expect_whole(entry), FormatError) << at;
    flip();
  }
  ::close(fd);
  expect_whole(entry);
}

TEST_F(Snapshot, ADamagedManifestIsAProblemNotASnapshot) {
  State state(3);
  SnapshotSlot slot(directory_.path(), "s1-rank-0000-0", state.tensors());
  slot.copy(state.tensors());
  slot.seal(*files_, manifest_of(3));
  std::fstream file(directory_ / "s1-rank-0000-0.json");
  file.seekp(200);
  file << "?";
  file.close();
  ASSERT_EQ(list().size(), 1u);
  EXPECT_NE(list()[0].problem, "");
  EXPECT_TRUE(merge_snapshots({list()}, std::string(64, 'a'), "", kAny).found[0].empty());
}

TEST_F(Snapshot, WithoutRoomNothingIsLeft) {
  std::vector<float> few(1);
  // As large as no disk is: the bytes are never touched.
  constexpr int64_t kCount = int64_t{1} << 52;
  const std::vector<NamedTensor> huge = {
      {.name = "a",
       .shape = {kCount},
       .data = {.data = few.data(), .count = kCount, .dtype = DType::kF32}}};
  EXPECT_THROW(SnapshotSlot(directory_.path(), "s1-rank-0000-0", huge), StorageError);
  EXPECT_TRUE(files_->list(directory_.path()).empty());
}

TEST_F(Snapshot, MemoryThatIsNotThereIsNoticedBeforeItIsWritten) {
  // A tmpfs of 1 MiB, seen by the child alone. A page that cannot be had would be a SIGBUS there.
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(77);
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("tmpfs", directory_.path().c_str(), "tmpfs", 0, "size=1m") != 0) ::_exit(77);
    State state(3, 1 << 20);
    try {
      SnapshotSlot slot(directory_.path(), "s1-rank-0000-0", state.tensors());
      slot.copy(state.tensors());
    } catch (const StorageError& failure) {
      const bool says = std::string(failure.what()).find("no room") != std::string::npos;
      ::_exit(says && files_->list(directory_.path()).empty() ? 0 : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(status, 0);
}

/// An entry as if a rank had sealed it.
StepInventory part(int64_t step, const std::string& start, const std::string& file,
                   const std::string& tensor) {
  StepInventory entry;
  entry.step = step;
  entry.manifest = manifest_of(step, start);
  Shard shard;
  shard.file = file;
  shard.bytes = 4;
  shard.tensors = {{.name = tensor, .dtype = DType::kF32, .shape = {1}, .offset = 0, .bytes = 4}};
  entry.manifest.add(shard);
  entry.present = {file};
  return entry;
}

TEST(MergeSnapshots, PutsTogetherWhatBelongsTogetherAndNothingElse) {
  const std::vector<WantedTensor> wanted = {{.name = "x", .dtype = DType::kF32, .shape = {1}},
                                            {.name = "y", .dtype = DType::kF32, .shape = {1}}};
  const std::string recipe(64, 'a');
  // Step 6 is whole only if parts of two starts were mixed, step 5 over two nodes, step 7 on none.
  const std::vector<std::vector<StepInventory>> found = {
      {part(5, "s1", "s1-0", "x"), part(6, "s1", "s1-0b", "x"), part(7, "s1", "s1-0c", "x")},
      {part(5, "s1", "s1-1", "y"), part(6, "s2", "s2-1", "y")}};
  const auto choose = [&](const std::string& of_recipe, const std::string& run, int64_t at_most) {
    return newest_complete(merge_snapshots(found, of_recipe, run, at_most).found, wanted).point;
  };
  const auto point = choose(recipe, "", kAny);
  ASSERT_TRUE(point);
  EXPECT_EQ(point->step, 5);
  EXPECT_EQ(point->tensors.at("y").front().domain, 1);
  EXPECT_TRUE(choose(recipe, "0123456789abcdef", 5));
  EXPECT_FALSE(choose(recipe, "another run", kAny));
  EXPECT_FALSE(choose(std::string(64, 'b'), "", kAny));
  EXPECT_FALSE(choose(recipe, "", 4));
}

}  // namespace
}  // namespace kente
