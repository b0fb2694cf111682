#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "comm/control.h"
#include "csrc/base/progress_board.h"

namespace kente {

/// Tells the supervisor that started this rank where it is, and hears its orders. A thread of its
/// own that sleeps; when the supervisor goes away the rank goes on.
class Heartbeat {
 public:
  /// Null unless a supervisor started this process (KENTE_CONTROL). board must outlive it. Throws
  /// PeerError when the supervisor cannot be reached.
  static std::unique_ptr<Heartbeat> start(const ProgressBoard& board, int rank, int size);

  Heartbeat(const ProgressBoard& board, const std::string& address, const Hello& hello);
  ~Heartbeat() = default;

  /// The supervisor wants the run to stop after this step.
  bool stop_ordered() const { return stop_ordered_.load(std::memory_order_relaxed); }
  /// Says that everything is loaded and waits for the supervisor's word to begin. False when the
  /// supervisor is gone.
  bool stand_by();
  /// The last word: this process ends by itself, with this status.
  void goodbye(int status);

 private:
  enum class Word { kNone, kGo, kGone };  // to one that stands by
  void run(const std::stop_token& stop);
  void hand_on(Word word);

  const ProgressBoard& board_;
  ControlClient client_;
  std::atomic<bool> stop_ordered_{false}, ready_{false};
  std::atomic<Word> word_{Word::kNone};
  std::jthread thread_;  // last: it uses the others
};

}  // namespace kente
