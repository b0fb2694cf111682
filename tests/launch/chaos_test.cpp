#include "launch/chaos.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

TEST(ChaosSchedule, IsTheSameForASeedAndKeepsTheRate) {
  std::vector<double> gaps;
  std::map<ChaosKind, int> kinds;
  ChaosSchedule one(7, 10, 4, 0), same(7, 10, 4, 0), other(8, 10, 4, 0);
  int differences = 0;
  double last = 0;
  for (int eighth = 0; eighth < 160000; ++eighth) {
    const double now = eighth / 8.0;
    const auto a = one.due(now), b = same.due(now), c = other.due(now);
    ASSERT_EQ(a.has_value(), b.has_value());
    differences += a.has_value() != c.has_value();
    if (!a) continue;
    EXPECT_EQ(a->kind, b->kind);
    EXPECT_EQ(a->rank, b->rank);
    EXPECT_EQ(a->pick, b->pick);
    EXPECT_TRUE(a->rank >= 0 && a->rank < 4);
    gaps.push_back(now - last);
    last = now;
    ++kinds[a->kind];
  }
  EXPECT_GT(differences, 1000);
  EXPECT_NEAR(static_cast<double>(gaps.size()), 2000, 200);
  EXPECT_EQ(kinds.size(), 5u);
  EXPECT_NEAR(kinds[ChaosKind::kKill], 1000, 150);
}

/// A file of zeros.
void write_zeros(const std::string& path, size_t bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << std::string(bytes, '\0');
}

int set_bits(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  int bits = 0;
  for (const char byte : text.str()) bits += __builtin_popcount(static_cast<unsigned char>(byte));
  return bits;
}

/// A run with a shard in memory and one on disk.
struct TwoShards {
  const TemporaryDirectory directory;
  const std::string memory = directory / "memory/a.safetensors";
  const std::string disk = directory / "run/ckpt/step-000000000001/rank-0000.safetensors";

  TwoShards() {
    write_zeros(memory, 4096);
    write_zeros(disk, 4096);
  }
};

TEST(Chaos, FlipsOneBitOfOneShardAndEndsOrFreezesOnlyTheRank) {
  const TwoShards shards;
  write_zeros(shards.directory / "run/ckpt/step-000000000001/MANIFEST.json", 64);
  const pid_t rank = ::fork();
  if (rank == 0)
    while (true) ::pause();
  Chaos chaos({.seed = 3, .between = 1}, 2, shards.directory / "run", shards.directory / "memory",
              0);
  std::map<std::string, int> seen;
  bool dead = false;
  for (double now = 0; now < 200 && !dead; now += 0.25) {
    const int in_memory = set_bits(shards.memory), on_disk = set_bits(shards.disk);
    const std::string done = chaos.act({{1, rank}}, now);
    if (done.empty()) {
      EXPECT_EQ(set_bits(shards.memory), in_memory);
      continue;
    }
    ++seen[done.substr(0, done.find(' '))];
    EXPECT_EQ(std::abs(set_bits(shards.memory) - in_memory),
              done.find("memory/a") != std::string::npos);
    EXPECT_EQ(std::abs(set_bits(shards.disk) - on_disk), done.find("ckpt") != std::string::npos)
        << done;
    EXPECT_EQ(done.find("rank 0"), std::string::npos) << "not on this machine: " << done;
    dead = done.starts_with("kill");
  }
  EXPECT_TRUE(dead);
  EXPECT_GE(chaos.faults(), 1);
  int status = 0;
  ::kill(rank, SIGCONT);
  EXPECT_EQ(::waitpid(rank, &status, 0), rank);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST(Chaos, FlipsHitMemoryAndDiskAndWithoutARankNothingElseHappens) {
  const TwoShards shards;
  Chaos chaos({.seed = 4, .between = 1}, 2, shards.directory / "run", shards.directory / "memory",
              0);
  int flips = 0;
  for (double now = 0; now < 400; now += 0.25) {
    const std::string done = chaos.act({{7, 0}}, now);
    if (done.empty()) continue;
    EXPECT_TRUE(done.starts_with("flipped a bit of byte ")) << done;
    EXPECT_EQ((set_bits(shards.memory) + set_bits(shards.disk)) % 2, ++flips % 2);
  }
  EXPECT_GT(set_bits(shards.memory), 20);
  EXPECT_GT(set_bits(shards.disk), 20);
  EXPECT_EQ(chaos.faults(), flips);
}

TEST(Chaos, WithoutASeedNothingHappens) {
  Chaos chaos({}, 2, "nowhere", "nowhere", 0);
  for (int now = 0; now < 1000; ++now) EXPECT_EQ(chaos.act({{0, ::getpid()}}, now), "");
}

TEST(JudgeRun, NamesWhatARunHasNotToShow) {
  const TemporaryDirectory directory;
  std::filesystem::create_directories(directory / "ckpt");
  EXPECT_NE(judge_run(directory.path()).problem, "");
  std::ofstream(directory / "run.jsonl") << "{\"step\":1}\n{\"step\":2}\n{\"step\":2}\n{\"st";
  const ChaosVerdict verdict = judge_run(directory.path());
  EXPECT_EQ(verdict.steps, 2);
  EXPECT_EQ(verdict.done_again, 1);
  EXPECT_NE(verdict.problem.find("step 2 is not stored"), std::string::npos);
}

}  // namespace
}  // namespace kente
