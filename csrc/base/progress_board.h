#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "csrc/base/failpoint.h"

namespace kente {

/// What a rank is doing, for whoever watches it.
enum class Phase : int32_t {
  kStart,
  kData,
  kForward,
  kBackward,
  kMessage,  // waits for a neighbour
  kReduce,   // starts a reduction
  kStep,     // waits for all ranks, then the optimizer
  kGather,
  kSnapshot,
  kValidate,
  kSave,
  kEnd
};
inline constexpr int kPhases = static_cast<int>(Phase::kEnd) + 1;

std::string_view name_of(Phase phase);

/// Whether a rank that stays in this phase waits for others by the nature of it.
bool waits_for_others(Phase phase);

/// Where a rank is; what a heartbeat tells. One thread writes, any may read: a reader may see the
/// fields of two moments, never a torn one.
class ProgressBoard {
 public:
  struct Entry {
    int64_t step = 0;
    Phase phase = Phase::kStart;
    int32_t micro_batch = -1;
    uint64_t changes = 0;  // grows with every set: a rank whose number stands still is stuck
  };

  void set_step(int64_t step) { step_.store(step, std::memory_order_relaxed); }
  void set(Phase phase, int32_t micro_batch = -1) {
    if (phase != Phase::kStart)
      reach_failpoint(static_cast<size_t>(phase) - static_cast<size_t>(Phase::kData));
    phase_.store(static_cast<int32_t>(phase), std::memory_order_relaxed);
    micro_batch_.store(micro_batch, std::memory_order_relaxed);
    changes_.store(changes_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  Entry read() const {
    Entry entry;
    entry.changes = changes_.load(std::memory_order_acquire);
    entry.step = step_.load(std::memory_order_relaxed);
    entry.phase = static_cast<Phase>(phase_.load(std::memory_order_relaxed));
    entry.micro_batch = micro_batch_.load(std::memory_order_relaxed);
    return entry;
  }

 private:
  std::atomic<int64_t> step_{0};
  std::atomic<int32_t> phase_{0}, micro_batch_{-1};
  std::atomic<uint64_t> changes_{0};
};

}  // namespace kente
