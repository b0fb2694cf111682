#include "csrc/plan/simulate.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "csrc/base/errors.h"

namespace kente {
namespace {

bool is_send(ActionKind kind) {
  return kind == ActionKind::kSendActivation || kind == ActionKind::kSendGradient;
}
bool is_receive(ActionKind kind) {
  return kind == ActionKind::kRecvActivation || kind == ActionKind::kRecvGradient;
}

/// The receive that a send on one rank pairs with.
Action receive_of(const Action& send, int from) {
  const bool activation = send.kind == ActionKind::kSendActivation;
  return {.kind = activation ? ActionKind::kRecvActivation : ActionKind::kRecvGradient,
          .chunk = activation ? send.chunk + 1 : send.chunk - 1,
          .micro_batch = send.micro_batch,
          .peer = from,
          .bucket = -1};
}

class Machine {
 public:
  Machine(const Mesh& mesh, const std::vector<ActionList>& schedule, const ActionCosts& costs,
          SendMode mode)
      : mesh_(mesh), schedule_(schedule), costs_(costs), mode_(mode) {
    const size_t ranks = schedule.size();
    clock_.assign(ranks, 0);
    next_.assign(ranks, 0);
    kept_.assign(ranks, 0);
    entries_.resize(ranks);
    result_.busy.assign(ranks, 0);
    result_.peak_bytes.assign(ranks, 0);
    for (size_t rank = 0; rank < ranks; ++rank) everyone_.push_back(static_cast<int>(rank));
  }

  Simulation run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (const int rank : everyone_)
        while (advance(rank)) moved = true;
    }
    for (const int rank : everyone_)
      if (head(rank)) result_.deadlock += waiting(rank);
    result_.seconds = clock_.empty() ? 0 : *std::max_element(clock_.begin(), clock_.end());
    for (const std::vector<TimelineEntry>& entries : entries_)
      result_.timeline.insert(result_.timeline.end(), entries.begin(), entries.end());
    return std::move(result_);
  }

 private:
  static size_t at(int rank) { return static_cast<size_t>(rank); }

  const Action* head(int rank) const {
    const ActionList& list = schedule_[at(rank)];
    return next_[at(rank)] < list.size() ? &list[next_[at(rank)]] : nullptr;
  }
  double seconds(int rank, const Action& action) const {
    return costs_.seconds ? costs_.seconds(rank, action) : 0;
  }

  /// Ends the rank's present action.
  void finish(int rank, double end) {
    const Action& action = *head(rank);
    if (costs_.kept_bytes) {
      kept_[at(rank)] += costs_.kept_bytes(rank, action);
      result_.peak_bytes[at(rank)] = std::max(result_.peak_bytes[at(rank)], kept_[at(rank)]);
    }
    entries_[at(rank)].push_back(
        {.rank = rank, .action = action, .begin = clock_[at(rank)], .end = end});
    clock_[at(rank)] = end;
    ++next_[at(rank)];
  }

  /// Runs the rank's next action if nothing it waits for is missing.
  bool advance(int rank) {
    const Action* action = head(rank);
    if (!action) return false;
    if (is_send(action->kind)) return send(rank, *action);
    if (is_receive(action->kind)) return mode_ == SendMode::kBuffered && receive(rank, *action);
    if (action->kind == ActionKind::kReduceBucket || action->kind == ActionKind::kGatherParameters)
      return collective(*action, mesh_.buckets.at(static_cast<size_t>(action->bucket)).holders);
    if (action->kind == ActionKind::kStep) return collective(*action, everyone_);
    const double took = seconds(rank, *action);
    result_.busy[at(rank)] += took;
    finish(rank, clock_[at(rank)] + took);
    return true;
  }

  bool send(int rank, const Action& action) {
    const int to = action.peer;
    if (to < 0 || at(to) >= schedule_.size()) return false;
    const Action expected = receive_of(action, rank);
    const double took = costs_.transfer_seconds ? costs_.transfer_seconds(rank, to, action) : 0;
    if (mode_ == SendMode::kBuffered) {
      arrivals_[{to, to_string(expected)}].push_back(clock_[at(rank)] + took);
      finish(rank, clock_[at(rank)]);
      return true;
    }
    const Action* other = head(to);
    if (!other || !(*other == expected)) return false;
    const double end = std::max(clock_[at(rank)], clock_[at(to)]) + took;
    finish(rank, end);
    finish(to, end);
    return true;
  }

  bool receive(int rank, const Action& action) {
    const auto arrival = arrivals_.find({rank, to_string(action)});
    if (arrival == arrivals_.end() || arrival->second.empty()) return false;
    const double end = std::max(clock_[at(rank)], arrival->second.front());
    arrival->second.erase(arrival->second.begin());
    finish(rank, end);
    return true;
  }

  bool collective(const Action& action, const std::vector<int>& members) {
    double start = 0;
    double took = 0;
    for (const int member : members) {
      const Action* other = head(member);
      if (!other || !(*other == action)) return false;
      start = std::max(start, clock_[at(member)]);
      took = std::max(took, seconds(member, action));
    }
    for (const int member : members) {
      result_.busy[at(member)] += seconds(member, action);
      finish(member, start + took);
    }
    return true;
  }

  std::string waiting(int rank) const {
    return (result_.deadlock.empty() ? "rank " : "; rank ") + std::to_string(rank) + " waits at " +
           to_string(*head(rank)) + " (action " + std::to_string(next_[at(rank)] + 1) + " of " +
           std::to_string(schedule_[at(rank)].size()) + ")";
  }

  const Mesh& mesh_;
  const std::vector<ActionList>& schedule_;
  const ActionCosts& costs_;
  const SendMode mode_;
  std::vector<int> everyone_;
  std::vector<double> clock_;  // per rank: when its last action ended
  std::vector<size_t> next_;   // per rank: index of the next action
  std::vector<int64_t> kept_;  // per rank
  std::vector<std::vector<TimelineEntry>> entries_;
  std::map<std::pair<int, std::string>, std::vector<double>> arrivals_;  // kBuffered
  Simulation result_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool is_collective(ActionKind kind) {
  return kind == ActionKind::kReduceBucket || kind == ActionKind::kStep ||
         kind == ActionKind::kGatherParameters;
}

/// Rank, kind, chunk or bucket, micro-batch (-1: any).
using Key = std::tuple<int, ActionKind, int, int>;

Key key_of(int rank, const Action& action, int micro_batch) {
  return {rank, action.kind, is_collective(action.kind) ? action.bucket : action.chunk,
          micro_batch};
}

}  // namespace

Simulation simulate(const Mesh& mesh, const std::vector<ActionList>& schedule,
                    const ActionCosts& costs, SendMode mode) {
  KENTE_CHECK(
      schedule.size() == static_cast<size_t>(mesh.num_ranks),
      std::to_string(schedule.size()) + " lists for " + std::to_string(mesh.num_ranks) + " ranks");
  return Machine(mesh, schedule, costs, mode).run();
}

ActionCosts measured_costs(const std::vector<TimelineEntry>& measured) {
  std::map<Key, std::vector<double>> samples;
  for (const TimelineEntry& entry : measured) {
    if (is_send(entry.action.kind) || is_receive(entry.action.kind)) continue;
    const double took = entry.end - entry.begin;
    samples[key_of(entry.rank, entry.action, -1)].push_back(took);
    if (!is_collective(entry.action.kind))
      samples[key_of(entry.rank, entry.action, entry.action.micro_batch)].push_back(took);
  }
  std::map<Key, double> medians;
  for (const auto& [key, values] : samples) {
    const double value = median(values);
    medians[key] = value;
    if (!is_collective(std::get<1>(key))) continue;
    const Key anyone = {-1, std::get<1>(key), std::get<2>(key), -1};
    const auto [entry, fresh] = medians.emplace(anyone, value);
    if (!fresh) entry->second = std::min(entry->second, value);
  }
  ActionCosts costs;
  costs.seconds = [medians](int rank, const Action& action) {
    const bool collective = is_collective(action.kind);
    auto found =
        medians.find(key_of(collective ? -1 : rank, action, collective ? -1 : action.micro_batch));
    if (found == medians.end()) found = medians.find(key_of(rank, action, -1));
    return found == medians.end() ? 0.0 : found->second;
  };
  return costs;
}

}  // namespace kente
