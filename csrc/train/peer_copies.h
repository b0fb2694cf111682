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
#include "csrc/train/snapshots.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// Keeps a copy of every rank's part of a snapshot in the memory of another node, so that a node
/// that is lost costs a few steps. The state travels while training goes on. The receiver has two
/// slots for each sender, and every rank keeps its own part of both steps pinned, so that with any
/// one node gone the rest has a whole step. One thread; the constructor, begin(), advance() and
/// finish() are called alike on every rank.
class PeerCopies {
 public:
  struct Options {
    std::string directory;  // of snapshots on this node
    std::string start;      // names the slots, as Snapshots::Options::start
    int64_t every = 0;      // steps; 0: none
    double timeout_seconds = 600;
  };
  /// memory: who shares a directory. own: this rank's part of the state. Off when all ranks share
  /// one. snapshots are kept by the caller. A collective.
  PeerCopies(const Options& options, const StorageDomains& memory,
             const std::vector<NamedTensor>& own, Snapshots& snapshots, Communicator& world,
             FileSystem& files, Log& log);
  ~PeerCopies();

  bool on() const { return on_; }
  /// The first one at once: what an earlier start copied is gone.
  bool due(int64_t step) const {
    return on_ && !active() && (step % options_.every == 0 || whole_ == 0);
  }
  /// Copies what was just taken. A rank that took none lets all others know later.
  void begin(int64_t step);
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
  enum class Phase { kIdle, kPreparing, kSending, kSealing };
  /// What this rank keeps of another one's state.
  struct Kept {
    int rank = 0;
    std::vector<NamedTensor> layout;  // no data
    std::array<std::unique_ptr<SnapshotSlot>, 2> slots = {};
    std::string manifest = {};  // of what arrives
  };
  void allocate();
  bool preparing();
  bool post();
  void seal();
  void give_up();
  SnapshotSlot& target(Kept& kept) { return *kept.slots.at(next_); }
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const Options options_;
  const std::vector<NamedTensor> own_;
  const std::vector<size_t> order_;  // of own_ in the file: that of the messages
  Snapshots& snapshots_;
  FileSystem& files_;
  Log& log_;
  bool on_ = false, failed_ = false;
  std::unique_ptr<Communicator> comm_;
  int partner_ = -1;  // who keeps this rank's copy
  std::vector<Kept> kept_;
  std::vector<std::unique_ptr<SnapshotSlot>> more_slots_;  // for the snapshots, made beside
  size_t next_ = 0;
  Phase phase_ = Phase::kIdle;
  int64_t step_ = 0, whole_ = 0;              // under way, and the newest one on all nodes; 0: none
  std::vector<NamedTensor> sent_;             // this rank's part, pinned
  std::string manifest_;                      // of what is sent; empty: nothing to send
  std::vector<std::unique_ptr<Work>> works_;  // under way
  BackgroundWork work_;                       // last: it uses the others
};

}  // namespace kente
