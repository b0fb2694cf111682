#include "launch/chaos.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/base/unique_handle.h"
#include "csrc/ckpt/checkpoint.h"

namespace kente {
namespace {

constexpr double kSlowSeconds = 5;

struct CloseFd {
  static int none() { return -1; }
  void operator()(int fd) const { ::close(fd); }
};

/// The shards below a directory, in one order.
std::vector<std::string> shards_below(const std::string& directory) {
  std::vector<std::string> shards;
  std::error_code gone;  // files come and go
  for (auto at = std::filesystem::recursive_directory_iterator(directory, gone);
       at != std::filesystem::recursive_directory_iterator(); at.increment(gone)) {
    if (gone) break;
    if (at->path().extension() == ".safetensors") shards.push_back(at->path().string());
  }
  std::sort(shards.begin(), shards.end());
  return shards;
}

}  // namespace

std::string_view name_of(ChaosKind kind) {
  constexpr std::array<std::string_view, 5> kNames = {"kill", "freeze", "slow", "flip in memory",
                                                      "flip on disk"};
  return kNames.at(static_cast<size_t>(kind));
}

ChaosSchedule::ChaosSchedule(uint64_t seed, double between, int ranks, double now)
    : random_(seed), between_(between), ranks_(ranks), next_(now + draw_gap()) {}

/// Faults that do not know of each other: exponential gaps, from the top 53 bits so that every
/// standard library draws the same.
double ChaosSchedule::draw_gap() {
  const double uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  return -between_ * std::log1p(-uniform);
}

std::optional<ChaosFault> ChaosSchedule::due(double now) {
  if (now < next_) return std::nullopt;
  ChaosFault fault;
  // Half of them are deaths: what happens most.
  constexpr std::array kKinds = {ChaosKind::kKill,         ChaosKind::kKill,      ChaosKind::kKill,
                                 ChaosKind::kKill,         ChaosKind::kFreeze,    ChaosKind::kSlow,
                                 ChaosKind::kFlipInMemory, ChaosKind::kFlipOnDisk};
  fault.kind = kKinds[random_() % kKinds.size()];
  fault.rank = static_cast<int>(random_() % static_cast<uint64_t>(ranks_));
  fault.pick = random_();
  next_ = now + draw_gap();
  return fault;
}

Chaos::Chaos(const Options& options, int ranks, const std::string& run_directory,
             const std::string& snapshots, double now)
    : run_directory_(run_directory), snapshots_(snapshots) {
  if (options.seed) schedule_.emplace(*options.seed, options.between, ranks, now);
}

/// Stopped for every other call.
void Chaos::go_on_slowing(double now) {
  if (!slowed_) return;
  slowed_->stopped = !slowed_->stopped && now < slowed_->until;
  ::kill(slowed_->pid, slowed_->stopped ? SIGSTOP : SIGCONT);
  if (now >= slowed_->until) slowed_.reset();
}

std::string Chaos::act(const std::map<int, pid_t>& pids, double now) {
  go_on_slowing(now);
  if (!schedule_ || pids.empty()) return "";
  const std::optional<ChaosFault> fault = schedule_->due(now);
  if (!fault) return "";
  const auto pid = pids.find(fault->rank);
  std::string done = hit(*fault, pid == pids.end() ? 0 : pid->second, now);
  if (!done.empty()) ++faults_;
  return done;
}

std::string Chaos::hit(const ChaosFault& fault, pid_t pid, double now) {
  const std::string what = fmt::format("{} rank {}", name_of(fault.kind), fault.rank);
  switch (fault.kind) {
    case ChaosKind::kKill:
      return pid > 0 && ::kill(pid, SIGKILL) == 0 ? what : "";
    case ChaosKind::kFreeze:
      return pid > 0 && ::kill(pid, SIGSTOP) == 0 ? what : "";
    case ChaosKind::kSlow:
      if (pid <= 0 || slowed_) return "";
      slowed_ = Slowed{.pid = pid, .until = now + kSlowSeconds, .stopped = false};
      return fmt::format("{} for {:.0f} s", what, kSlowSeconds);
    case ChaosKind::kFlipInMemory:
      return flip(snapshots_, fault.pick);
    case ChaosKind::kFlipOnDisk:
      return flip(run_directory_ + "/ckpt", fault.pick);
  }
  return "";
}

/// Inverts one bit of one shard.
std::string Chaos::flip(const std::string& directory, uint64_t pick) {
  const std::vector<std::string> shards = shards_below(directory);
  if (shards.empty()) return "";
  const std::string& path = shards[pick % shards.size()];
  const UniqueHandle<int, CloseFd> file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  const off_t size = file ? ::lseek(file.get(), 0, SEEK_END) : 0;
  if (size <= 0) return "";
  const auto at = static_cast<off_t>((pick >> 8) % static_cast<uint64_t>(size));
  char byte = 0;
  if (::pread(file.get(), &byte, 1, at) != 1) return "";
  byte = static_cast<char>(byte ^ (1 << (pick % 8)));
  if (::pwrite(file.get(), &byte, 1, at) != 1) return "";
  return fmt::format("flipped a bit of byte {} of {}", at, path);
}

ChaosVerdict judge_run(const std::string& run_directory) {
  ChaosVerdict verdict;
  std::set<int64_t> steps;
  int64_t lines = 0;
  std::ifstream record(run_directory + "/run.jsonl");
  for (std::string text; std::getline(record, text);) {
    const auto line = nlohmann::json::parse(text, nullptr, false);
    if (!line.is_object() || !line.contains("step")) continue;  // torn by a death
    steps.insert(line["step"].get<int64_t>());
    ++lines;
  }
  verdict.steps = steps.empty() ? 0 : *steps.rbegin();
  verdict.done_again = lines - static_cast<int64_t>(steps.size());
  // A death between a step and its line leaves that line out, once.
  if (steps.empty()) verdict.problem = run_directory + "/run.jsonl: no step in it";
  const auto files = posix_file_system();
  const std::string directory = run_directory + "/ckpt";
  const std::vector<StepInventory> stored = list_checkpoints(*files, directory);
  if (stored.empty() || stored.front().step != verdict.steps) {
    verdict.problem = fmt::format("{}: step {} is not stored", directory, verdict.steps);
    return verdict;
  }
  for (const std::string& problem : verify_checkpoint(*files, directory, stored.front()).problems)
    verdict.problem = problem;
  return verdict;
}

}  // namespace kente
