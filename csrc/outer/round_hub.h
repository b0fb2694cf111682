#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "csrc/outer/round_policy.h"

namespace kente {

// What the hub writes down before it says it. A record counts once it is durable.
struct TermBegun {
  int64_t term = 0;
};
struct LabAdmitted {
  LabId lab;
  int64_t incarnation = 0;
  uint64_t session = 0;
};
struct RoundCommitted {
  RoundCommit commit;
};
struct RoundDone {
  int64_t round = 0;
  Digest weights;
};
/// Aggregates of rounds up to this one are kept no longer.
struct RoundsForgotten {
  int64_t round = 0;
};
using LogRecord = std::variant<TermBegun, LabAdmitted, RoundCommitted, RoundDone, RoundsForgotten>;

// What the hub has others do.
struct SendToLab {
  LabId lab;
  ToLab message;
};
/// Write the record behind all others, make it durable, tell logged().
struct WriteLog {
  LogRecord record;
};
/// Sum the contributions in their order, make the mean durable, tell aggregated().
struct Aggregate {
  int64_t round = 0;
  std::vector<Contribution> contributions;
};
/// Delete the aggregates of rounds up to this one.
struct Forget {
  int64_t round = 0;
};
/// The run stands still, or part of it, until a person has looked at it.
struct Alarm {
  std::string what;
};
using HubAction = std::variant<SendToLab, WriteLog, Aggregate, Forget, Alarm>;

/// The hub's side of rounds between labs: collect updates, aggregate, commit, have every lab vote
/// on the weights it has then, and go on. Pure: what happens comes in, what is to be done goes out;
/// clock, network and disk are the caller's. Whoever starts a hub must hold the log alone. Source
/// of the rounds: Douillard et al. 2023, arXiv:2311.08105, algorithm 1.
class RoundHub {
 public:
  using Actions = std::vector<HubAction>;

  explicit RoundHub(RoundPolicy policy);

  /// First: every record of the log, in order.
  void replay(const LogRecord& record);
  /// Then: a new term. Nothing is answered before it is durable.
  Actions start(int64_t now);

  /// lab: whom the connection's certificate names.
  Actions receive(const LabId& lab, const ToHub& message, int64_t now);
  /// The oldest record that was not durable is.
  Actions logged(int64_t now);
  Actions aggregated(int64_t round, const Digest& aggregate);
  /// To be called at next_deadline().
  Actions tick(int64_t now);
  /// INT64_MAX: none.
  int64_t next_deadline() const;

  int64_t term() const { return term_; }
  int64_t rounds_committed() const { return committed_; }
  int64_t rounds_done() const { return done_; }

 private:
  enum class Phase { kStarting, kCollecting, kAggregating, kCommitting, kVoting, kSealing };
  struct Member {
    int64_t incarnation = 0;
    uint64_t session = 0;
    bool durable = false;  // the log has this incarnation
    int64_t last_heard = 0;
  };

  Epoch epoch_of(const LabId& lab) const;
  /// Whether that is the lab's latest process, under this hub; it has been heard of then.
  bool hear(const LabId& lab, const Epoch& epoch, int64_t now);
  bool has_quorum(size_t labs) const;
  bool is_present(const Member& member, int64_t now) const;
  void answer(const LabId& lab, const Join& join, int64_t now);
  void answer(const LabId& lab, const Update& update, int64_t now);
  void answer(const LabId& lab, const Vote& vote, int64_t now);
  void answer(const LabId& lab, const Ask& ask, int64_t now);
  /// What a lab has: its vote, or the reason to bring it forward.
  void learn(const LabId& lab, int64_t applied, const Digest& weights, int64_t now);
  /// What a lab that has so many rounds lacks.
  void bring_forward(const LabId& lab, int64_t applied, const Digest& weights);
  void heal(const LabId& lab);
  void open_round(int64_t now);
  void close_if_ready(int64_t now);
  void seal_if_agreed(int64_t now);
  void forget_old_rounds();
  void forget(int64_t round);
  void write(const LogRecord& record);
  void send(const LabId& lab, ToLab message) {
    actions_.push_back(SendToLab{lab, std::move(message)});
  }
  Actions take();

  const RoundPolicy policy_;
  Phase phase_ = Phase::kStarting;
  int64_t term_ = 0;
  int64_t committed_ = 0, done_ = 0;  // rounds
  int64_t deadline_ = 0;              // of collecting or voting
  int64_t last_tick_ = std::numeric_limits<int64_t>::min();
  std::map<LabId, Member> members_;         // ever admitted
  std::map<LabId, Contribution> updates_;   // of the round being collected
  std::map<LabId, Digest> votes_;           // of the round being voted on
  std::map<int64_t, RoundCommit> commits_;  // whose aggregates are kept
  std::map<int64_t, Digest> weights_;       // of rounds that are done
  std::map<LabId, int64_t> stored_;         // rounds in a lab's checkpoint, as it last said
  std::set<LabId> agreed_;                  // labs known to have the weights of round done_
  std::vector<LogRecord> unlogged_;         // in the order they were written
  Actions actions_;
};

}  // namespace kente
