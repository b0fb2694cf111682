#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/background_work.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/ckpt/state_copy.h"
#include "csrc/train/snapshots.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// Keeps a copy of every rank's part of a snapshot in the memory of another node, so that a node
/// that is lost costs a few steps. The state travels while training goes on, from a copy of its
/// own; the receiver has two slots for each sender, so one is always whole. One thread; the
/// constructor, begin(), advance() and finish() are called alike on every rank.
class PeerCopies {
 public:
  struct Options {
    std::string directory;  // of snapshots on this node
    std::string start;      // names the slots, as Snapshots::Options::start
    int64_t every = 0;      // steps; 0: none
    double timeout_seconds = 600;
  };
  /// memory: who shares a directory. own: this rank's part of the state, kept by the caller. Off
  /// when all ranks share one. A collective.
  PeerCopies(const Options& options, const StorageDomains& memory,
             const std::vector<NamedTensor>& own, Communicator& world, FileSystem& files, Log& log);
  ~PeerCopies();

  bool on() const { return on_; }
  bool due(int64_t step) const { return on_ && !active() && step % options_.every == 0; }
  /// Copies what was just taken; snapshots is held meanwhile. A rank that took none lets all
  /// others know later.
  void begin(Snapshots& snapshots, int64_t step);
  /// A copy is under way; equal on all ranks.
  bool active() const { return phase_ != Phase::kIdle; }
  /// This rank is not done with its part of the phase.
  bool working();
  /// On to the next phase: when active(), and no rank is working(). The step that is whole on all
  /// nodes now, if one became so. A collective.
  std::optional<int64_t> advance();
  /// Until nothing is under way. A collective.
  void finish();
  /// Some rank had no memory: no more copies. Equal on all ranks.
  bool failed() const { return failed_; }

  /// Training went back: what is newer must not be found. Not while active().
  void forget_after(int64_t step);
  /// Removes the copies that this rank keeps. Not while active().
  void clear();

 private:
  enum class Phase { kIdle, kCopying, kSending, kSealing };
  /// What this rank keeps of another one's state.
  struct Kept {
    int rank = 0;
    std::vector<NamedTensor> layout;  // no data
    std::array<std::unique_ptr<SnapshotSlot>, 2> slots = {};
    std::string manifest = {};  // of what arrives
  };
  void allocate();
  void release_when_copied();
  bool post();
  void seal();
  SnapshotSlot& target(Kept& kept) { return *kept.slots.at(next_); }
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const Options options_;
  const std::vector<NamedTensor>& own_;
  FileSystem& files_;
  Log& log_;
  bool on_ = false, failed_ = false;
  std::unique_ptr<Communicator> comm_;
  int partner_ = -1;  // who keeps this rank's copy
  int sharing_ = 1;   // ranks on this node
  std::vector<Kept> kept_;
  std::unique_ptr<StateCopy> copy_;
  size_t next_ = 0;
  Phase phase_ = Phase::kIdle;
  int64_t step_ = 0;
  Snapshots* held_ = nullptr;
  std::string manifest_;                      // of what is sent; empty: nothing to send
  std::vector<std::unique_ptr<Work>> works_;  // under way
  BackgroundWork work_;                       // last: it uses the others
};

}  // namespace kente
