#include "tests/outer/round_history.h"

#include <algorithm>
#include <variant>

#include "csrc/base/hash.h"

namespace kente {
namespace {

Digest digest(const std::string& text) { return hex64(xxh3_64(text.data(), text.size())); }

std::string words(const LabProcess& process) {
  return process.lab + "." + std::to_string(process.session);
}

template <typename Record, typename Is>
bool has(const std::vector<LogRecord>& log, Is&& is) {
  return std::ranges::any_of(log, [&](const LogRecord& record) {
    const auto* found = std::get_if<Record>(&record);
    return found != nullptr && is(*found);
  });
}

}  // namespace

Digest digest_of_sum(const RoundCommit& commit) {
  std::string text = "sum";
  for (const Contribution& c : commit.contributions)
    text += " " + c.lab + " " + c.payload + " " + std::to_string(c.tokens);
  return digest(text);
}

Digest digest_of_weights(const Digest& base, const Digest& aggregate) {
  return digest("weights " + base + " " + aggregate);
}

RoundHistory::RoundHistory(RoundPolicy policy) : policy_(std::move(policy)) {
  done_[0] = policy_.initial_weights;
}

void RoundHistory::fail(const std::string& what) {
  if (failure_.empty()) failure_ = what;
}

Digest RoundHistory::right_weights(int64_t round) const {
  Digest weights = policy_.initial_weights;
  for (int64_t r = 1; r <= round; ++r) {
    const auto commit = commits_.find(r);
    if (commit == commits_.end()) return {};
    weights = digest_of_weights(weights, commit->second.aggregate);
  }
  return weights;
}

void RoundHistory::hub_says(const LabId& lab, const ToLab& message,
                            const std::vector<LogRecord>& log,
                            const std::map<int64_t, Digest>& aggregates) {
  if (const auto* admit = std::get_if<Admit>(&message)) {
    if (!has<TermBegun>(log, [&](const TermBegun& r) { return r.term == admit->epoch.term; }))
      fail("an answer before its term was durable");
    says(lab, *admit);
  } else if (const auto* received = std::get_if<Received>(&message)) {
    says(lab, *received);
  } else if (const auto* committed = std::get_if<Committed>(&message)) {
    says(*committed, log);
    const auto aggregate = aggregates.find(committed->commit.round);
    if (aggregate == aggregates.end() || aggregate->second != committed->commit.aggregate)
      fail("round " + std::to_string(committed->commit.round) +
           ": a commit was said and its aggregate is not there");
  } else if (const auto* done = std::get_if<Done>(&message)) {
    says(*done, log);
  }
}

void RoundHistory::ghost_says(const ToLab& message, const std::vector<LogRecord>& log) {
  if (const auto* committed = std::get_if<Committed>(&message)) says(*committed, log);
  if (const auto* done = std::get_if<Done>(&message)) says(*done, log);
}

void RoundHistory::says(const Committed& committed, const std::vector<LogRecord>& log) {
  const RoundCommit& commit = committed.commit;
  const std::string round = "round " + std::to_string(commit.round);
  if (!has<RoundCommitted>(log, [&](const RoundCommitted& r) { return r.commit == commit; }))
    fail(round + ": a commit was said before it was durable");
  const auto [known, fresh] = commits_.try_emplace(commit.round, commit);
  if (!(known->second == commit)) fail(round + ": two commits");
  if (fresh) check_commit(commit);
}

void RoundHistory::check_commit(const RoundCommit& commit) {
  const std::string round = "round " + std::to_string(commit.round);
  if (commit.contributions.size() < static_cast<size_t>(policy_.quorum))
    fail(round + ": a commit without a quorum");
  if (commit.aggregate != digest_of_sum(commit)) fail(round + ": not the sum of its parts");
  if (commit.base != right_weights(commit.round - 1))
    fail(round + ": not from the weights agreed on");
  LabId last;
  for (const Contribution& c : commit.contributions) {
    if (!last.empty() && c.lab <= last) fail(round + ": labs out of order");
    last = c.lab;
    const auto maker = trained_.find(c.payload);
    if (maker == trained_.end() || maker->second.process.lab != c.lab ||
        maker->second.round != commit.round || maker->second.base != commit.base)
      fail(round + ": holds what " + c.lab + " did not train in it");
    if (!committed_in_.emplace(c.payload, commit.round).second)
      fail(round + ": holds a difference that an earlier round holds");
  }
}

void RoundHistory::says(const LabId& lab, const Received& received) {
  const auto maker = trained_.find(received.payload);
  if (maker == trained_.end()) return fail("the hub took an update that nobody made");
  if (maker->second.process.session < admitted_[lab])
    fail("the hub took an update of " + words(maker->second.process) + ", which was fenced");
}

void RoundHistory::says(const LabId& lab, const Admit& admit) {
  if (admit.session < admitted_[lab])
    fail("a process of " + lab + " was admitted after a later one");
  admitted_[lab] = std::max(admitted_[lab], admit.session);
}

void RoundHistory::says(const Done& done, const std::vector<LogRecord>& log) {
  const std::string round = "round " + std::to_string(done.round);
  if (done.round > 0 && !has<RoundDone>(log, [&](const RoundDone& r) {
        return r.round == done.round && r.weights == done.weights;
      }))
    fail(round + ": was called done before that was durable");
  if (done_.try_emplace(done.round, done.weights).first->second != done.weights)
    fail(round + ": done with two sets of weights");
  if (done.weights != right_weights(done.round)) fail(round + ": done with wrong weights");
}

void RoundHistory::lab_trained(const LabProcess& process, int64_t round, const Digest& base,
                               const Digest& payload) {
  trained_[payload] = {process, round, base};
}

void RoundHistory::lab_applies(const LabProcess& process, const ApplyCommit& apply) {
  Part right = Part::kNone;
  for (const Contribution& c : apply.commit.contributions)
    if (c.lab == process.lab)
      right = trained_[c.payload].process == process ? Part::kOwn : Part::kEarlier;
  if (apply.part != right) fail(words(process) + " is mistaken about its part in a round");
}

void RoundHistory::lab_starts(const LabProcess& process, int64_t applied) {
  applied_[process] = applied;
  started_[process.lab] = process.session;
}

void RoundHistory::lab_applied(const LabProcess& process, int64_t round, const Digest& weights,
                               bool corrupt) {
  if (round != applied_[process] + 1)
    fail(words(process) + " applied round " + std::to_string(round) + " after " +
         std::to_string(applied_[process]));
  applied_[process] = round;
  if (!corrupt && weights != right_weights(round))
    fail(words(process) + " has other weights after round " + std::to_string(round));
}

void RoundHistory::lab_healed(const LabProcess& process, int64_t round, const Digest& weights) {
  applied_[process] = round;
  if (weights != right_weights(round))
    fail(words(process) + " was healed with wrong weights of round " + std::to_string(round));
}

void RoundHistory::lab_stops(const LabProcess& process) {
  if (started_[process.lab] <= process.session)
    fail(words(process) + " was stopped, and there is no later process");
}

}  // namespace kente
