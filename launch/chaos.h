#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>

namespace kente {

/// What is done to a run on purpose, from outside, so that its owner sees it survive.
enum class ChaosKind { kKill, kFreeze, kSlow, kFlipInMemory, kFlipOnDisk };

std::string_view name_of(ChaosKind kind);

/// A fault that is due.
struct ChaosFault {
  ChaosKind kind = ChaosKind::kKill;
  int rank = 0;       // whom it hits, of the first three
  uint64_t pick = 0;  // which file and bit, of the others
};

/// When which fault comes: at random, the same for a seed. Knows no clock: seconds are the
/// caller's.
class ChaosSchedule {
 public:
  /// between: seconds from one fault to the next, on average.
  ChaosSchedule(uint64_t seed, double between, int ranks, double now);
  /// At most one a call.
  std::optional<ChaosFault> due(double now);

 private:
  double draw_gap();

  std::mt19937_64 random_;
  const double between_;
  const int ranks_;
  double next_;
};

/// Does what is due to the processes and files of a run.
class Chaos {
 public:
  struct Options {
    std::optional<uint64_t> seed;  // empty: nothing happens
    double between = 20;           // seconds
  };
  Chaos(const Options& options, int ranks, const std::string& run_directory,
        const std::string& snapshots, double now);

  /// pids: of the ranks on this machine. Returns what was done, for the run's events; empty:
  /// nothing.
  std::string act(const std::map<int, pid_t>& pids, double now);
  /// The processes are gone.
  void forget_processes() { slowed_.reset(); }
  /// Faults so far.
  int64_t faults() const { return faults_; }

 private:
  struct Slowed {
    pid_t pid = 0;
    double until = 0;
    bool stopped = false;
  };
  void go_on_slowing(double now);
  std::string hit(const ChaosFault& fault, pid_t pid, double now);
  static std::string flip(const std::string& directory, uint64_t pick);

  const std::string run_directory_, snapshots_;
  std::optional<ChaosSchedule> schedule_;
  std::optional<Slowed> slowed_;
  int64_t faults_ = 0;
};

/// What a run that went through chaos has to show at its end.
struct ChaosVerdict {
  std::string problem;  // empty: it stood the test
  int64_t steps = 0, done_again = 0;
};
/// Reads run.jsonl and verifies the newest checkpoint.
ChaosVerdict judge_run(const std::string& run_directory);

}  // namespace kente
