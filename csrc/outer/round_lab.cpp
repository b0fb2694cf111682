#include "csrc/outer/round_lab.h"

#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr int64_t kAsksPerJoin = 8;

}  // namespace

RoundLab::RoundLab(RoundPolicy policy, LabId lab, uint64_t session, int64_t applied, Digest weights)
    : policy_(std::move(policy)),
      lab_(std::move(lab)),
      session_(session),
      applied_(applied),
      stored_(applied),
      weights_(std::move(weights)) {}

RoundLab::Actions RoundLab::start(int64_t now) {
  heard_ = now;
  next_ = now + policy_.ask_every;
  send(Join{session_});
  actions_.push_back(TrainRound{applied_ + 1});
  return take();
}

RoundLab::Actions RoundLab::receive(const ToLab& message, int64_t now) {
  if (phase_ == Phase::kStopped) return {};
  std::visit([&](const auto& what) { take_in(what, now); }, message);
  return take();
}

RoundLab::Actions RoundLab::trained(int64_t round, const Digest& base, const Digest& payload,
                                    int64_t tokens) {
  // A commit or other weights may have come while the last inner step was under way.
  if (phase_ != Phase::kTraining || round != applied_ + 1 || base != weights_) return {};
  phase_ = Phase::kWaiting;
  update_ = Contribution{lab_, payload, tokens};
  received_ = false;
  ask();
  return take();
}

RoundLab::Actions RoundLab::applied(int64_t round, const Digest& weights) {
  KENTE_CHECK(phase_ == Phase::kApplying && round == applied_ + 1, "a round nobody applies");
  train_on(round, weights);
  if (epoch_.term > 0) send(Vote{epoch_, applied_, weights_});
  return take();
}

RoundLab::Actions RoundLab::apply_failed() {
  KENTE_CHECK(phase_ == Phase::kApplying, "a round nobody applies");
  phase_ = Phase::kLost;
  return take();
}

RoundLab::Actions RoundLab::healed(int64_t round, const Digest& weights) {
  KENTE_CHECK(phase_ == Phase::kHealing, "weights nobody fetches");
  train_on(round, weights);
  ask();
  return take();
}

RoundLab::Actions RoundLab::heal_failed() {
  KENTE_CHECK(phase_ == Phase::kHealing, "weights nobody fetches");
  phase_ = Phase::kLost;
  return take();
}

RoundLab::Actions RoundLab::tick(int64_t now) {
  if (phase_ == Phase::kStopped) return {};
  next_ = now + policy_.ask_every;
  // A hub that another one has followed may still answer: every hub hears a join.
  if (now - heard_ > 2 * policy_.ask_every || ++asked_ % kAsksPerJoin == 0) {
    send(Join{session_});
  } else {
    ask();
  }
  return take();
}

void RoundLab::take_in(const Admit& admit, int64_t now) {
  if (admit.session != session_ || admit.epoch.term < epoch_.term) return;
  heard_ = now;
  if (admit.epoch != epoch_) received_ = false;
  epoch_ = admit.epoch;
  ask();
}

void RoundLab::take_in(const Fenced& fenced, int64_t) {
  if (fenced.session != session_) return;
  phase_ = Phase::kStopped;
  next_ = std::numeric_limits<int64_t>::max();
  actions_.push_back(StopLab{});
}

void RoundLab::take_in(const Received& received, int64_t now) {
  if (received.epoch != epoch_) return;
  heard_ = now;
  if (update_ && received.round == applied_ + 1 && received.payload == update_->payload)
    received_ = true;
}

void RoundLab::take_in(const Committed& committed, int64_t now) {
  if (committed.epoch != epoch_) return;
  heard_ = now;
  const RoundCommit& commit = committed.commit;
  if (phase_ == Phase::kApplying || phase_ == Phase::kHealing) return;
  if (commit.round != applied_ + 1 || commit.base != weights_) return;
  Part part = Part::kNone;
  for (const Contribution& contribution : commit.contributions)
    if (contribution.lab == lab_) part = contribution == update_ ? Part::kOwn : Part::kEarlier;
  phase_ = Phase::kApplying;
  actions_.push_back(ApplyCommit{commit, part});
}

void RoundLab::take_in(const Done& done, int64_t now) {
  if (done.epoch != epoch_) return;
  heard_ = now;
  if (done.round != applied_ || done.weights != weights_) return;
  actions_.push_back(Release{done.round});
  if (phase_ != Phase::kLost) return;
  if (update_) {
    phase_ = Phase::kWaiting;  // the hub may have it: another one of the round would be a second
  } else {
    train_on(applied_, weights_);
  }
}

void RoundLab::take_in(const Heal& heal, int64_t now) {
  if (heal.epoch != epoch_) return;
  heard_ = now;
  if (phase_ == Phase::kApplying || phase_ == Phase::kHealing || heal.round < applied_ ||
      heal.weights == weights_)
    return;
  phase_ = Phase::kHealing;
  actions_.push_back(FetchWeights{heal.round, heal.weights, heal.from});
}

void RoundLab::train_on(int64_t round, const Digest& weights) {
  phase_ = Phase::kTraining;
  applied_ = round;
  weights_ = weights;
  update_.reset();
  received_ = false;
  actions_.push_back(TrainRound{applied_ + 1});
}

/// Says what this lab has, or sends what the hub does not have yet.
void RoundLab::ask() {
  if (epoch_.term == 0) return;
  if (phase_ == Phase::kWaiting && !received_) {
    send(Update{epoch_, applied_ + 1, weights_, *update_});
  } else if (phase_ != Phase::kApplying && phase_ != Phase::kHealing) {
    send(Ask{epoch_, applied_, weights_, stored_});
  }
}

}  // namespace kente
