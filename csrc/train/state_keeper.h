#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/base/progress_board.h"
#include "csrc/train/peer_copies.h"
#include "csrc/train/recovery.h"
#include "csrc/train/saver.h"
#include "csrc/train/snapshots.h"
#include "csrc/train/step.h"

namespace kente {

/// When the training state is kept, and where: snapshots in memory, checkpoints on disks. What the
/// ranks have to agree on for it travels with a step's vote. One thread; all but says() and
/// newest_checkpoint() are collectives.
class StateKeeper {
 public:
  struct Options {
    std::string snapshots;       // directory, see csrc/train/snapshots.h
    int64_t snapshot_every = 0;  // steps; 0: none
    int64_t copy_every = 0;      // steps between copies of them on another node; 0: none
    bool background = false;     // training goes on while a checkpoint is written
    bool prepare = false;        // there will be some: the memory is taken after the first step
    double timeout_seconds = 600;
  };
  /// Records an event of the run: what, at which step, in which words.
  using Tell = std::function<void(const std::string&, int64_t, const std::string&)>;

  /// All must outlive it.
  StateKeeper(const Options& options, Recovery& recovery, HostState& state, Communicator& world,
              FileSystem& files, Log& log, ProgressBoard& board, Tell tell);

  /// The state is what the run starts from: newest_checkpoint, 0 if it is new.
  void start(int64_t newest_checkpoint);
  /// What this rank has to tell all others with a step's vote; stop is the caller's.
  RankSays says(int64_t step);
  /// Goes on with what is under way, and takes a snapshot if one is due. now: the manifest, without
  /// shards, of the state after this step.
  void after_step(const StepReport& report, const std::function<CheckpointManifest()>& now);
  /// Stores the state. may_leave_out: not if the last checkpoint is still being written. last: the
  /// run ends here, nobody goes on meanwhile.
  void checkpoint(CheckpointManifest now, const Retention& retention, bool may_leave_out,
                  bool last);
  /// Waits until nothing is under way.
  void finish();
  /// Training went back to a stored step, after finish(): what is newer is forgotten. now: the
  /// manifest of the state there.
  void went_back(CheckpointManifest now);
  /// Keeps the state where the next trainer of this process finds it: in memory, else on a disk.
  /// False where neither worked; equal on all ranks. now: the manifest of the state.
  bool hand_over(CheckpointManifest now, const Retention& retention);
  /// The run ended at this step.
  void end(int64_t step);
  /// The newest step on a disk; 0: none.
  int64_t newest_checkpoint() const { return newest_checkpoint_; }

 private:
  void take(CheckpointManifest now, double step_seconds);
  void snapshot(const StepReport& report, const std::function<CheckpointManifest()>& now);
  void tell(const std::vector<Saver::News>& news);

  const Options options_;
  Recovery& recovery_;
  HostState& state_;
  const std::vector<NamedTensor> own_;  // this rank's part of it
  Communicator& world_;
  ProgressBoard& board_;
  const Tell tell_;
  Snapshots snapshots_;
  PeerCopies copies_;
  Saver saver_;
  int64_t newest_checkpoint_ = 0;
  bool prepared_ = false;
};

}  // namespace kente
