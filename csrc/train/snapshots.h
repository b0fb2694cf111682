#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "csrc/base/bounded_queue.h"
#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/train/host_state.h"

namespace kente {

/// One rank's snapshots: its part of every K-th step in two slots of shared memory, which outlive
/// the process. Training stands still for one copy; a thread digests it. While one slot is written
/// the other holds the step before, so all ranks must take the same steps: see Step's vote. Slots
/// can be pinned, and then others take turns: two pinned ones need two more, see add().
class Snapshots {
 public:
  struct Options {
    std::string directory;
    std::string start;  // equal on all ranks, another one every start: names the slots
    int rank = 0;
    int64_t every = 0;  // steps; 0: none are taken
  };
  Snapshots(const Options& options, FileSystem& files, Log& log);
  ~Snapshots();

  bool on() const { return every_ > 0; }
  bool due(int64_t step) const { return on() && step % every_ == 0; }
  int64_t every() const { return every_; }
  /// The last one is not visible yet, or held, or every slot but it is pinned.
  bool busy() const {
    return sealing() || held_.load(std::memory_order_acquire) > 0 || next_slot() == slots_.size();
  }
  bool sealing() const { return sealing_.load(std::memory_order_acquire); }
  /// This rank can take no more: no memory. Said once in the log.
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  /// The last copy took more than 2 % of the steps between two; false when asked again.
  bool cost_too_much() { return std::exchange(cost_too_much_, false); }
  /// Twice as rarely from now on.
  void take_fewer() { every_ *= 2; }

  /// Copies; not while busy(). manifest: all but its shards. tensors: the same every time.
  /// step_seconds: what a step takes. The first copy into a slot is not judged: it touches the
  /// pages for the first time.
  void take(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
            double step_seconds);
  /// As above, of a state that may be elsewhere: then training does not stand still. The state
  /// travels to the host's tensors, from where the thread copies it; see HostState::go_on().
  void take(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
            double step_seconds, HostState& state);
  /// Until the last one is visible.
  void wait();
  /// How many were taken.
  int64_t taken() const { return taken_; }
  /// The step of the last one; 0: none.
  int64_t newest() const { return newest_; }
  /// That step's manifest, if a slot holds it and it could be sealed. Not while it is the newest
  /// and sealing().
  const CheckpointManifest* sealed(int64_t step) const;
  /// What the last one copied; it stays as it is until release(), which any thread may call, once
  /// for every hold().
  std::vector<NamedTensor> hold();
  void release();

  /// The last one stays, and can be found, until unpin(); snapshots go on in other slots.
  std::vector<NamedTensor> pin();
  void unpin(int64_t step);
  /// One more slot for these tensors, not in use before add(). Any thread. Throws StorageError.
  std::unique_ptr<SnapshotSlot> make_slot(size_t number,
                                          const std::vector<NamedTensor>& tensors) const;
  void add(std::unique_ptr<SnapshotSlot> slot);
  size_t slots() const { return slots_.size(); }

  /// Training went back: what is newer must not be found.
  void forget_after(int64_t step);
  /// Of the newest step only the last snapshot is found: it was taken anew. Not while sealing().
  void forget_twins();
  /// Removes this rank's slots: everything is stored elsewhere.
  void clear();

 private:
  struct Job {
    SnapshotSlot* slot = nullptr;
    CheckpointManifest manifest;
    std::vector<NamedTensor> tensors = {};  // with state: still to be copied
    HostState* state = nullptr;             // held until they are
  };
  struct Slot {
    std::unique_ptr<SnapshotSlot> memory = {};  // null before its first use
    int64_t step = 0;
    bool pinned = false;
  };
  /// The slot of the next one, filled so, or null: no memory.
  SnapshotSlot* begin(CheckpointManifest& manifest, const std::vector<NamedTensor>& tensors,
                      const std::function<void(Slot&)>& fill);
  void run();
  void fail(const StorageError& failure);
  size_t next_slot() const;  // slots_.size(): none is free
  Slot& newest_slot() { return slots_.at(newest_slot_); }

  const Options options_;
  FileSystem& files_;
  Log& log_;
  int64_t every_;
  int64_t taken_ = 0, newest_ = 0;
  bool cost_too_much_ = false;
  std::vector<Slot> slots_{2};
  size_t newest_slot_ = 1;
  HostState* arriving_ = nullptr;  // from where the last one has not come yet
  std::atomic<bool> sealing_{false}, copying_{false}, failed_{false};
  std::atomic<int> held_{0};
  BoundedQueue<Job> jobs_{1};
  std::thread thread_;  // last: it uses the others
};

}  // namespace kente
