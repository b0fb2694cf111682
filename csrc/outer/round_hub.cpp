#include "csrc/outer/round_hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "csrc/base/errors.h"

namespace kente {

RoundHub::RoundHub(RoundPolicy policy) : policy_(std::move(policy)) {
  KENTE_CHECK(policy_.quorum >= 1, "a round without a quorum");
  weights_[0] = policy_.initial_weights;
}

void RoundHub::replay(const LogRecord& record) {
  KENTE_CHECK(phase_ == Phase::kStarting && unlogged_.empty(), "a log replayed too late");
  if (const auto* begun = std::get_if<TermBegun>(&record)) {
    term_ = begun->term;
  } else if (const auto* admitted = std::get_if<LabAdmitted>(&record)) {
    members_[admitted->lab] = {
        .incarnation = admitted->incarnation, .session = admitted->session, .durable = true};
  } else if (const auto* committed = std::get_if<RoundCommitted>(&record)) {
    committed_ = committed->commit.round;
    commits_[committed_] = committed->commit;
  } else if (const auto* done = std::get_if<RoundDone>(&record)) {
    done_ = done->round;
    weights_[done_] = done->weights;
  } else if (const auto* forgotten = std::get_if<RoundsForgotten>(&record)) {
    forget(forgotten->round);
  }
}

RoundHub::Actions RoundHub::start(int64_t now) {
  KENTE_CHECK(phase_ == Phase::kStarting && unlogged_.empty(), "a hub started twice");
  for (auto& [lab, member] : members_) member.last_heard = now - policy_.silence - 1;
  ++term_;
  write(TermBegun{term_});
  return take();
}

RoundHub::Actions RoundHub::receive(const LabId& lab, const ToHub& message, int64_t now) {
  if (phase_ == Phase::kStarting) return {};
  std::visit([&](const auto& what) { answer(lab, what, now); }, message);
  return take();
}

RoundHub::Actions RoundHub::logged(int64_t now) {
  KENTE_CHECK(!unlogged_.empty(), "a record was written that nobody wrote");
  const LogRecord record = unlogged_.front();
  unlogged_.erase(unlogged_.begin());
  if (std::holds_alternative<TermBegun>(record)) {
    if (committed_ > done_) {
      phase_ = Phase::kVoting;
      deadline_ = now + policy_.vote_time;
    } else {
      open_round(now);
    }
  } else if (const auto* admitted = std::get_if<LabAdmitted>(&record)) {
    Member& member = members_[admitted->lab];
    if (member.incarnation != admitted->incarnation) return take();  // a later one follows
    member.durable = true;
    send(admitted->lab, Admit{epoch_of(admitted->lab), member.session});
  } else if (const auto* committed = std::get_if<RoundCommitted>(&record)) {
    committed_ = committed->commit.round;
    commits_[committed_] = committed->commit;
    updates_.clear();
    votes_.clear();
    phase_ = Phase::kVoting;
    deadline_ = now + policy_.vote_time;
    for (const auto& [lab, member] : members_)
      if (member.durable) send(lab, Committed{epoch_of(lab), committed->commit});
  } else if (const auto* done = std::get_if<RoundDone>(&record)) {
    done_ = done->round;
    weights_[done_] = done->weights;
    agreed_.clear();
    for (const auto& [lab, weights] : votes_)
      if (weights == done->weights) agreed_.insert(lab);
    for (const auto& [lab, weights] : std::exchange(votes_, {})) bring_forward(lab, done_, weights);
    forget_old_rounds();
    open_round(now);
  } else if (const auto* forgotten = std::get_if<RoundsForgotten>(&record)) {
    actions_.push_back(Forget{forgotten->round});
  }
  return take();
}

RoundHub::Actions RoundHub::aggregated(int64_t round, const Digest& aggregate) {
  if (phase_ != Phase::kAggregating || round != committed_ + 1) return {};
  RoundCommit commit{
      .round = round, .base = weights_.at(done_), .contributions = {}, .aggregate = aggregate};
  for (const auto& [lab, contribution] : updates_) commit.contributions.push_back(contribution);
  phase_ = Phase::kCommitting;
  write(RoundCommitted{std::move(commit)});
  return take();
}

RoundHub::Actions RoundHub::tick(int64_t now) {
  last_tick_ = now;
  close_if_ready(now);
  seal_if_agreed(now);
  return take();
}

int64_t RoundHub::next_deadline() const {
  int64_t next = std::numeric_limits<int64_t>::max();
  const auto consider = [&](int64_t time) {
    if (time > last_tick_) next = std::min(next, time);
  };
  if (phase_ == Phase::kVoting) consider(deadline_);
  // Without a quorum nothing happens before the update that makes one.
  if (phase_ == Phase::kCollecting && has_quorum(updates_.size())) {
    consider(deadline_);
    for (const auto& [lab, member] : members_)
      if (member.durable && !updates_.contains(lab))
        consider(member.last_heard + policy_.silence + 1);
  }
  return next;
}

bool RoundHub::has_quorum(size_t labs) const { return labs >= static_cast<size_t>(policy_.quorum); }

Epoch RoundHub::epoch_of(const LabId& lab) const { return {term_, members_.at(lab).incarnation}; }

bool RoundHub::hear(const LabId& lab, const Epoch& epoch, int64_t now) {
  const auto member = members_.find(lab);
  if (member == members_.end() || !member->second.durable || epoch != epoch_of(lab)) return false;
  member->second.last_heard = now;
  return true;
}

bool RoundHub::is_present(const Member& member, int64_t now) const {
  return member.durable && now - member.last_heard <= policy_.silence;
}

void RoundHub::answer(const LabId& lab, const Join& join, int64_t now) {
  const auto known = members_.find(lab);
  if (known != members_.end() && known->second.session == join.session) {
    known->second.last_heard = now;
    if (known->second.durable) send(lab, Admit{epoch_of(lab), join.session});
    return;
  }
  if (known != members_.end() && known->second.session > join.session)
    return send(lab, Fenced{join.session});
  // Another process of the lab: what the earlier one sent and says counts no more.
  Member& member = members_[lab];
  member = {.incarnation = member.incarnation + 1,
            .session = join.session,
            .durable = false,
            .last_heard = now};
  if (phase_ == Phase::kCollecting) updates_.erase(lab);
  if (phase_ == Phase::kVoting) votes_.erase(lab);
  agreed_.erase(lab);
  write(LabAdmitted{lab, member.incarnation, join.session});
}

void RoundHub::answer(const LabId& lab, const Update& update, int64_t now) {
  if (!hear(lab, update.epoch, now)) return;
  // Or the vote was lost: its base is one, and the update comes again.
  if (update.round <= committed_ || (phase_ == Phase::kVoting && update.round == committed_ + 1))
    return learn(lab, update.round - 1, update.base, now);
  if (phase_ != Phase::kCollecting || update.round != committed_ + 1) return;
  if (update.base != weights_.at(done_)) return heal(lab);
  if (update.contribution.lab != lab || update.contribution.tokens <= 0) return;
  updates_.emplace(lab, update.contribution);  // the first one stays
  send(lab, Received{update.epoch, update.round, updates_.at(lab).payload});
  close_if_ready(now);
}

void RoundHub::answer(const LabId& lab, const Vote& vote, int64_t now) {
  if (hear(lab, vote.epoch, now)) learn(lab, vote.round, vote.weights, now);
}

void RoundHub::answer(const LabId& lab, const Ask& ask, int64_t now) {
  if (!hear(lab, ask.epoch, now)) return;
  stored_[lab] = ask.stored;
  learn(lab, ask.applied, ask.weights, now);
}

void RoundHub::learn(const LabId& lab, int64_t applied, const Digest& weights, int64_t now) {
  if (phase_ != Phase::kVoting || applied != committed_)
    return bring_forward(lab, applied, weights);
  votes_[lab] = weights;
  agreed_.insert(lab);  // it applied the commit to the weights of the round before, and has them
  seal_if_agreed(now);
}

void RoundHub::bring_forward(const LabId& lab, int64_t applied, const Digest& weights) {
  if (applied > committed_) {
    // What is committed is in the log before it is said: the log has lost its end.
    actions_.push_back(Alarm{fmt::format(
        "{} has round {}, and the log ends at round {}: restore the hub's log, or have the lab "
        "start from a checkpoint of round {} or before",
        lab, applied, committed_, committed_)});
    return;
  }
  const auto right = weights_.find(applied);
  if (right != weights_.end() && weights != right->second) return heal(lab);
  if (applied == done_) {
    agreed_.insert(lab);
    send(lab, Done{epoch_of(lab), done_, weights});
  }
  if (applied == committed_) return;
  const auto next = commits_.find(applied + 1);
  if (next == commits_.end() || right == weights_.end()) return heal(lab);
  send(lab, Committed{epoch_of(lab), next->second});
}

void RoundHub::heal(const LabId& lab) {
  agreed_.erase(lab);
  if (agreed_.empty()) return;  // it asks again
  // Another one next time, until this one says again that it has them: it may be gone.
  const LabId other = agreed_.extract(agreed_.begin()).value();
  send(lab, Heal{epoch_of(lab), done_, weights_.at(done_), other});
}

void RoundHub::open_round(int64_t now) {
  phase_ = Phase::kCollecting;
  deadline_ = now + policy_.round_time;
  updates_.clear();
}

void RoundHub::close_if_ready(int64_t now) {
  if (phase_ != Phase::kCollecting) return;
  if (!has_quorum(updates_.size())) return;
  const bool all = std::ranges::all_of(members_, [&](const auto& entry) {
    return !is_present(entry.second, now) || updates_.contains(entry.first);
  });
  if (!all && now < deadline_) return;
  phase_ = Phase::kAggregating;
  Aggregate aggregate{committed_ + 1, {}};
  for (const auto& [lab, contribution] : updates_) aggregate.contributions.push_back(contribution);
  actions_.push_back(std::move(aggregate));
}

/// More than half of those who contributed have the same weights; or, once time is up, a quorum
/// has, and nobody has others.
void RoundHub::seal_if_agreed(int64_t now) {
  if (phase_ != Phase::kVoting) return;
  std::map<Digest, size_t> count;
  for (const auto& [lab, weights] : votes_) ++count[weights];
  for (const auto& [weights, votes] : count) {
    const size_t contributed = commits_.at(committed_).contributions.size();
    const bool majority = 2 * votes > std::max(contributed, votes_.size());
    const bool unopposed = now >= deadline_ && count.size() == 1 && has_quorum(votes);
    if (!majority && !unopposed) continue;
    phase_ = Phase::kSealing;
    write(RoundDone{committed_, weights});
    return;
  }
  if (now < deadline_ || count.size() < 2) return;
  std::string what = fmt::format("round {}: no majority for any weights:", committed_);
  for (const auto& [lab, weights] : votes_) what += fmt::format(" {} has {},", lab, weights);
  what.back() = ';';
  actions_.push_back(Alarm{what + " a lab that starts from a checkpoint before it votes again"});
}

/// A lab that has lost its memory goes on from its checkpoint, and all others can be healed by it:
/// what follows the checkpoints of two labs, or of the only one, is kept.
void RoundHub::forget_old_rounds() {
  std::vector<int64_t> stored;
  for (const auto& [lab, rounds] : stored_) stored.push_back(rounds);
  std::ranges::sort(stored, std::greater());
  const size_t wanted = std::min<size_t>(2, members_.size());
  if (stored.size() < wanted || wanted == 0) return;
  const int64_t oldest = std::min(done_ - policy_.rounds_kept, stored[wanted - 1]);
  if (commits_.empty() || commits_.begin()->first > oldest) return;
  forget(oldest);
  write(RoundsForgotten{oldest});
}

void RoundHub::forget(int64_t round) {
  commits_.erase(commits_.begin(), commits_.upper_bound(round));
  weights_.erase(weights_.begin(), weights_.lower_bound(round));
}

void RoundHub::write(const LogRecord& record) {
  unlogged_.push_back(record);
  actions_.push_back(WriteLog{record});
}

RoundHub::Actions RoundHub::take() { return std::exchange(actions_, {}); }

}  // namespace kente
