#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/background_work.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log.h"
#include "csrc/ckpt/state_copy.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// Which stored steps stay: the newest so many, and those named.
struct Retention {
  int64_t newest = 3;
  std::set<int64_t> also = {};
};

/// Writes checkpoints while training goes on: every rank its shard, from a copy of its part of the
/// state; then, once all are on their disks, each directory's leader the manifest and the commit.
/// From then on a power cut leaves it. It counts as stored, and older ones may go, when every rank
/// has read its shard back; else it is taken away again. Then come the copies in other places. What
/// needs a disk is done by a thread of its own; the ranks meet in advance(), between two steps. A
/// disk that is full, fails or is slow costs a checkpoint, never the training. One thread calls it;
/// begin(), advance() and finish() are called alike on every rank.
class Saver {
 public:
  /// What happened, for the run's events; equal on all ranks but for words.
  struct News {
    std::string event;  // kStored, "checkpoint failed", "copy failed", "old checkpoints stay"
    int64_t step = 0;
    std::string detail;
    double durable_seconds = 0;  // of kStored: from begin() until a power cut would have left it
  };

  static constexpr const char* kStored = "checkpoint";

  /// places: the run's own first, then those that get copies; all must outlive it. Removes what
  /// attempts of earlier processes left there: nobody else may be writing. A collective.
  Saver(const std::vector<StoragePlace>& places, Communicator& world, FileSystem& files, Log& log,
        double timeout_seconds);

  /// Allocates the copy, so that the first begin() does not have to. tensors: this rank's part of
  /// the state, the same for every begin().
  void prepare(const std::vector<NamedTensor>& tensors);

  /// How begin() may read the tensors that it is given.
  enum class Source {
    kCopied,    // while it runs: they are copied
    kBorrowed,  // until finish(), which must be the next call
    kReleased,  // until it calls released, from another thread
  };
  /// Starts a checkpoint. manifest: all but its shards. Not while active(). Without memory
  /// for a copy kCopied writes at once.
  void begin(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors, Source source,
             const Retention& retention, std::function<void()> released = {});

  /// A checkpoint is under way; equal on all ranks.
  bool active() const { return phase_ != Phase::kIdle; }
  /// This rank is not done with its part of the phase.
  bool working() const { return work_.working(); }
  /// On to the next phase: when active(), and no rank is working(). A collective.
  std::vector<News> advance();
  /// Until it is stored, or failed, and copied. A collective.
  std::vector<News> finish();

 private:
  enum class Phase {
    kIdle,
    kWriting,
    kCommitting,
    kReadingBack,
    kCopying,
    kCommittingCopies,
    kCleaning
  };
  struct Attempt {
    std::string id;
    CheckpointManifest manifest;
    Retention retention;
    Shard shard;  // this rank's
    int64_t begin_ns = 0;
    double durable_seconds = 0;
    std::vector<std::string> problems;  // by place, of what is done after the commit
    std::set<size_t> told;              // places whose problem is news no more
  };

  void start(Phase phase, std::function<void()> work);
  void allocate(const std::vector<NamedTensor>& tensors);
  void write(const std::vector<NamedTensor>& tensors);
  std::string own_step() const;
  void gather_shards();
  void commit_own();
  void read_own_back();
  void withdraw();
  void copy_shards();
  void commit_copies();
  void remove_attempts();
  std::string outcome_of_work();
  News failed(const std::string& why);
  News stored() const;
  std::vector<News> tell_problems();
  void for_copies(const std::function<void(const StoragePlace&)>& work);
  Deadline deadline() const { return Deadline::after_seconds(timeout_seconds_); }

  const std::vector<StoragePlace>& places_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  const double timeout_seconds_;
  std::unique_ptr<StateCopy> copy_;  // null where memory is short
  bool allocated_ = false;           // copy_ was tried; the thread's while working()
  Phase phase_ = Phase::kIdle;
  Attempt attempt_;  // the thread's while working()
  int64_t attempts_ = 0;
  double stood_still_ = 0;  // seconds, for the attempt
  BackgroundWork work_;     // last: it uses the others
};

}  // namespace kente
