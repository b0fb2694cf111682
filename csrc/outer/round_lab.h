#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "csrc/outer/round_policy.h"

namespace kente {

// What the lab's side has others do.
struct SendToHub {
  ToHub message;
};
/// Train the inner steps of the round from the weights all agreed on; tell trained().
struct TrainRound {
  int64_t round = 0;
};
/// Whether what this lab has trained in a round is in the round's commit.
enum class Part {
  kNone,     // no: the difference stays with the lab, for its next round
  kOwn,      // yes
  kEarlier,  // what an earlier process of the lab had sent: this one's difference is dropped
};
/// Stop training, make the round's weights of those all agreed on before; tell applied(), or
/// apply_failed() where the aggregate cannot be had.
struct ApplyCommit {
  RoundCommit commit;
  Part part = Part::kNone;
};
/// Take these weights, checked against the digest, from the lab that the hub names; tell healed()
/// or heal_failed(). What this lab trained meanwhile is dropped.
struct FetchWeights {
  int64_t round = 0;
  Digest weights;
  LabId from;
};
/// The round's difference is needed no more, nor are the weights of the rounds before it, which
/// until then other labs may fetch.
struct Release {
  int64_t round = 0;
};
/// A later process of the lab has taken over: end.
struct StopLab {};
using LabAction = std::variant<SendToHub, TrainRound, ApplyCommit, FetchWeights, Release, StopLab>;

/// A lab's side of rounds between labs; see RoundHub. Pure.
class RoundLab {
 public:
  using Actions = std::vector<LabAction>;

  /// session: larger than that of every earlier process of this lab. applied: rounds that are in
  /// the checkpoint the process starts from.
  RoundLab(RoundPolicy policy, LabId lab, uint64_t session, int64_t applied, Digest weights);

  Actions start(int64_t now);
  Actions receive(const ToLab& message, int64_t now);
  /// base: the weights that the round's inner steps began from.
  Actions trained(int64_t round, const Digest& base, const Digest& payload, int64_t tokens);
  Actions applied(int64_t round, const Digest& weights);
  Actions apply_failed();
  Actions healed(int64_t round, const Digest& weights);
  Actions heal_failed();
  /// A checkpoint of the weights after this round is durable.
  void stored(int64_t round) { stored_ = round; }
  /// To be called at next_deadline(), and when a connection was made anew.
  Actions tick(int64_t now);
  int64_t next_deadline() const { return next_; }

  int64_t rounds_applied() const { return applied_; }
  const Digest& weights() const { return weights_; }

 private:
  enum class Phase { kTraining, kWaiting, kApplying, kHealing, kLost, kStopped };

  void take_in(const Admit& admit, int64_t now);
  void take_in(const Fenced& fenced, int64_t now);
  void take_in(const Received& received, int64_t now);
  void take_in(const Committed& committed, int64_t now);
  void take_in(const Done& done, int64_t now);
  void take_in(const Heal& heal, int64_t now);
  void train_on(int64_t round, const Digest& weights);
  void ask();
  void send(ToHub message) { actions_.push_back(SendToHub{std::move(message)}); }
  Actions take() { return std::exchange(actions_, {}); }

  const RoundPolicy policy_;
  const LabId lab_;
  const uint64_t session_;
  Phase phase_ = Phase::kTraining;
  Epoch epoch_;  // none before the hub admits this process
  int64_t applied_, stored_;
  Digest weights_;
  std::optional<Contribution> update_;  // of round applied_ + 1
  bool received_ = false;               // the hub has it, unless the hub starts anew
  int64_t heard_ = 0;
  int64_t asked_ = 0;  // times
  int64_t next_ = std::numeric_limits<int64_t>::max();
  Actions actions_;
};

}  // namespace kente
