#pragma once

#include <vector_types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/host/fibre.h"
#include "cuda/host/memory.h"

namespace kente::cuda::host {

/// A place in a kernel's source. What stands on one line is one place.
struct Site {
  const char* file = "";
  unsigned line = 0;

  /// Where it is called, or where a function is called that has it as a default argument.
  static constexpr Site current(const char* file = __builtin_FILE(),
                                unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

/// A kernel did what no kernel may: the message names the kernel, the block, the thread and the
/// line.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// In which order threads between two barriers, and blocks, take their turns. Nothing a kernel
/// computes may depend on it: kEvery runs each launch in all three orders, and a byte of memory
/// that is not the same after all of them is an error.
enum class TurnOrder { kForward, kReversed, kShuffled, kEvery };

/// What a launch is made of, but for the kernel.
struct LaunchShape {
  const char* kernel = "";
  dim3 grid, block;
  size_t dynamic_bytes = 0;
};

/// A pretended GPU that runs kernels on this OS thread, one block after the other, each thread of a
/// block on a fibre. It has no caches, no clock and no streams: a launch has ended when it returns.
class Gpu {
 public:
  explicit Gpu(TurnOrder order = TurnOrder::kForward, uint64_t seed = 1);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  DeviceMemory& memory() { return memory_; }
  /// How many kernels were launched.
  int64_t launches() const { return launches_; }
  /// False: the shape is none that a GPU takes.
  static bool takes(const LaunchShape& shape);
  /// Runs the kernel once for every thread. False: takes() says so. Throws KernelError; what other
  /// blocks have written by then stays written. Another OS thread than the one that made the GPU
  /// may do that, one at a time.
  bool launch(const LaunchShape& shape, const std::function<void()>& kernel);

  /// The one that runs the calling kernel; otherwise the newest of this OS thread, or null.
  static Gpu* current();

  // For kernels, by way of cuda/host/intrinsics.h.
  uint3 thread_index() const;
  uint3 block_index() const { return block_index_; }
  const LaunchShape& shape() const { return shape_; }
  void barrier(const Site& site);
  /// The lanes in mask meet here. Returns what the lane source brought; nothing if it is not in
  /// mask.
  std::optional<uint64_t> exchange(uint32_t mask, uint64_t value, unsigned source,
                                   const Site& site);
  /// All the lanes of mask bring a value; bit n: lane n's is not 0.
  uint32_t vote(uint32_t mask, bool value, const Site& site);
  void warp_barrier(uint32_t mask, const Site& site);
  /// Memory of the block, the same for all who ask at one place, NaN at first.
  void* shared(size_t bytes, size_t alignment, const Site& site);
  void* dynamic_shared(const Site& site) { return shared(shape_.dynamic_bytes, 16, site); }
  void load(void* to, const void* from, int bytes, const Site& site);
  void store(void* to, const void* from, int bytes, const Site& site);
  /// Adds to an integer of that many bytes, atomically; orders nothing else.
  void add(void* to, uint64_t value, int bytes, const Site& site);
  [[noreturn]] void fail(const std::string& what, const Site& site);

 private:
  struct Lane;
  struct Meeting;
  enum class Kind { kShuffle, kVote, kBarrier };
  using LaneValues = std::array<uint64_t, 32>;
  void run_grid(TurnOrder order);
  void run_in_every_order();
  static void run_lane(void* lane);
  void run_block();
  void begin_block();
  void end_block();
  bool run_lanes(const std::vector<unsigned>& numbers);
  bool take_turns();
  void check_nobody_waits();
  void lane_ended(const Lane& lane);
  LaneValues meet(Kind kind, uint32_t mask, uint64_t value, const Site& site);
  Meeting& meeting_of(Kind kind, uint32_t mask, const Site& site);
  bool arrive(Meeting& meeting, uint64_t value);
  std::byte* check(const void* at, int bytes, Access access, const Site& site);
  std::vector<unsigned> turns(uint64_t count);
  std::string where(const Lane& lane) const;

  const TurnOrder order_;
  TurnOrder turn_order_ = TurnOrder::kForward;  // of this run
  std::mt19937_64 random_;
  Gpu* outer_;
  DeviceMemory memory_;
  WarpTraffic traffic_;
  int64_t launches_ = 0;

  LaunchShape shape_;
  const std::function<void()>* kernel_ = nullptr;
  uint3 block_index_{};
  std::vector<std::unique_ptr<Lane>> lanes_;
  unsigned lane_count_ = 0, ended_ = 0, at_barrier_ = 0;
  Lane* lane_ = nullptr;  // null between turns
  Site barrier_site_;
  unsigned barriers_ = 0;  // that all have passed
  std::array<char, 2> barrier_places_{};
  std::vector<std::vector<std::unique_ptr<Meeting>>> meetings_;  // not yet left by all, by warp
  std::map<uint64_t, SharedBlock> shared_;
  size_t shared_bytes_ = 0;
  char start_place_ = 0, end_place_ = 0, shared_place_ = 0;  // for ThreadSanitizer
  std::string error_;
};

}  // namespace kente::cuda::host
