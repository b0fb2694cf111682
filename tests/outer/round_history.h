#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "csrc/outer/round_hub.h"
#include "csrc/outer/round_lab.h"

namespace kente {

/// A process of a lab: its number is its session.
struct LabProcess {
  LabId lab;
  uint64_t session = 0;
  auto operator<=>(const LabProcess&) const = default;
};

Digest digest_of_sum(const RoundCommit& commit);
Digest digest_of_weights(const Digest& base, const Digest& aggregate);

/// Watches a simulated run of hub and labs, knows what is right, and keeps the first thing that is
/// not: one commit a round, durable before it is said, of a quorum, of differences to the weights
/// agreed on before; no difference in two commits, none of a process that was fenced when the hub
/// took it; every lab applies every round once, in order or by healing, and has the same weights.
class RoundHistory {
 public:
  explicit RoundHistory(RoundPolicy policy);

  /// log: what is durable when the hub says it; aggregates: likewise.
  void hub_says(const LabId& lab, const ToLab& message, const std::vector<LogRecord>& log,
                const std::map<int64_t, Digest>& aggregates);
  /// A hub that another one has followed: it may repeat what is durable, and is not believed else.
  void ghost_says(const ToLab& message, const std::vector<LogRecord>& log);
  /// base: the weights that payload is the difference to.
  void lab_trained(const LabProcess& process, int64_t round, const Digest& base,
                   const Digest& payload);
  void lab_applies(const LabProcess& process, const ApplyCommit& apply);
  /// corrupt: a fault made the weights wrong.
  void lab_applied(const LabProcess& process, int64_t round, const Digest& weights, bool corrupt);
  void lab_healed(const LabProcess& process, int64_t round, const Digest& weights);
  void lab_starts(const LabProcess& process, int64_t applied);
  void lab_stops(const LabProcess& process);
  void fail(const std::string& what);

  /// Empty: nothing was wrong.
  const std::string& failure() const { return failure_; }
  /// Weights of a round whose commits are known; empty: not known.
  Digest right_weights(int64_t round) const;

 private:
  void says(const Committed& committed, const std::vector<LogRecord>& log);
  void says(const LabId& lab, const Received& received);
  void says(const LabId& lab, const Admit& admit);
  void says(const Done& done, const std::vector<LogRecord>& log);
  void check_commit(const RoundCommit& commit);

  RoundPolicy policy_;
  std::map<int64_t, RoundCommit> commits_;
  std::map<int64_t, Digest> done_;
  struct Trained {
    LabProcess process;
    int64_t round;
    Digest base;
  };
  std::map<Digest, Trained> trained_;       // by payload
  std::map<Digest, int64_t> committed_in_;  // payload: round
  std::map<LabId, uint64_t> admitted_;      // the latest session
  std::map<LabId, uint64_t> started_;       // likewise
  std::map<LabProcess, int64_t> applied_;
  std::string failure_;
};

}  // namespace kente
