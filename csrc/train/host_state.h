#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "csrc/nn/ops/ops.h"
#include "csrc/nn/parameters.h"
#include "csrc/train/optimizer.h"

namespace kente {

/// What a checkpoint holds of a parameter: its master weights and its two moments.
enum class StateKind { kMaster, kExpAvg, kExpAvgSq };

/// The training state of one rank where the host reads and writes it, to store, compare or digest
/// it: on a CPU the training's own memory, on a GPU a copy in the host's. One thread, but for
/// release().
class HostState {
 public:
  /// optimizer: null: weights alone. Both must outlive it.
  explicit HostState(Parameters& parameters, const AdamW* optimizer = nullptr);

  /// f32; master: [layout(group).size], moments: [shard(group).size()]. The group must be held.
  float* data(StateKind kind, int group) const;
  const Parameters& parameters() const { return parameters_; }
  const AdamW* optimizer() const { return optimizer_; }

  /// The host's memory is the training's: it has its state at any time.
  bool same_memory() const { return copies_->same_memory(); }
  /// Begins to copy the state as it is now; training may go on meanwhile. then: called once the
  /// host has it, by go_on(), wait() or the next fetch(), whichever comes first after that. Waits
  /// until nobody holds what was copied before.
  void fetch(std::function<void()> then);
  void go_on();
  void wait();
  /// Until the host has the state as it is now.
  void read();
  /// The group's weights, compute copy too, and moments become what the host has.
  void write(int group);
  void write();  // of all groups

  /// The copy stays as it is until release(), which any thread may call.
  void hold() { held_.fetch_add(1, std::memory_order_acq_rel); }
  void release();

 private:
  Parameters& parameters_;
  const AdamW* const optimizer_;
  std::vector<size_t> first_;  // by group: its master's number in copies_; moments come next
  std::unique_ptr<HostCopies> copies_;
  std::function<void()> then_;  // empty: nobody waits for what was fetched
  std::atomic<int> held_{0};
};

}  // namespace kente
