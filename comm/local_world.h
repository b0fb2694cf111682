#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "comm/communicator.h"

namespace kente {

/// What all communicators of one make_local share.
struct LocalJob {
  std::mutex mutex;  // guards everything in this job and its worlds
  std::condition_variable changed;
  std::string ended;  // why abort() was called; empty while running
};

/// One rank's part in something under way. Guarded by LocalJob::mutex.
struct LocalPost {
  BufferView data;
  bool done = false;
  std::string mistake;  // the ranks disagree: InternalError
  std::string lost;     // a peer gave up: PeerError
};

/// One collective: who has arrived with what. Guarded by LocalJob::mutex.
struct LocalRound {
  enum class Kind { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kBarrier, kSplit };
  /// What all ranks must agree on.
  struct Signature {
    Kind kind = Kind::kBarrier;
    ReduceOp op = ReduceOp::kSum;
    int root = 0;
    int64_t count = 0;
    DType dtype = DType::kU8;
    bool operator==(const Signature&) const = default;
  };
  struct Member {
    std::shared_ptr<LocalPost> post;
    BufferView input, output;
    int color = 0, key = 0;                   // split
    std::shared_ptr<class LocalWorld> world;  // split: what the rank got, null for none
    int rank = 0;                             // split: its rank there
  };

  LocalRound(const Signature& agreed, int size)
      : signature(agreed), members(static_cast<size_t>(size)) {}

  const Signature signature;
  std::vector<Member> members;
  int arrived = 0;
};

/// Mailboxes and collectives of one communicator. The caller of every function holds job().mutex.
class LocalWorld {
 public:
  LocalWorld(std::shared_ptr<LocalJob> job, int size);

  LocalJob& job() const { return *job_; }
  int size() const { return size_; }

  /// Pairs the message with the other side's, oldest first, or leaves it in the mailbox.
  std::shared_ptr<LocalPost> send(BufferView data, int from, int to, int tag);
  std::shared_ptr<LocalPost> receive(BufferView data, int from, int to, int tag);
  /// Joins the rank's next collective; the last to arrive carries it out for all.
  std::shared_ptr<LocalRound> join(int rank, const LocalRound::Signature& signature,
                                   LocalRound::Member member);
  /// The rank goes away: nothing may touch the post's buffer any more.
  void withdraw(const std::shared_ptr<LocalPost>& post, int rank);

 private:
  using Route = std::tuple<int, int, int>;  // from, to, tag
  using Box = std::map<Route, std::deque<std::shared_ptr<LocalPost>>>;
  std::shared_ptr<LocalPost> pair(Box& other, Box& own, const Route& route, BufferView data);
  void carry_out(LocalRound& round);
  void carry_out_split(LocalRound& round);

  const std::shared_ptr<LocalJob> job_;
  const int size_;
  Box sends_, receives_;                                   // what has no partner yet
  std::vector<int64_t> next_round_;                        // per rank
  std::map<int64_t, std::shared_ptr<LocalRound>> rounds_;  // those somebody has yet to join
};

/// "all_reduce of 120 f32", for messages.
std::string to_string(const LocalRound::Signature& signature);

}  // namespace kente
