#include "csrc/plan/simulate.h"

#include <algorithm>
#include <map>
#include <optional>
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

bool is_collective(ActionKind kind) {
  return kind == ActionKind::kReduceBucket || kind == ActionKind::kStep ||
         kind == ActionKind::kGatherParameters;
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

/// Messages of one kind on their way to one rank, oldest first (kBuffered).
class Inbox {
 public:
  void put(const Action& receive, double arrival) { messages_.push_back({receive, arrival}); }

  /// When the message of this receive arrives; takes it out. Empty: not sent yet.
  std::optional<double> take(const Action& receive) {
    for (size_t i = taken_; i < messages_.size(); ++i) {
      if (!(messages_[i].receive == receive)) continue;
      const double arrival = messages_[i].arrival;
      // Nearly always the oldest: then nothing moves.
      if (i != taken_)
        std::move_backward(messages_.begin() + static_cast<std::ptrdiff_t>(taken_),
                           messages_.begin() + static_cast<std::ptrdiff_t>(i),
                           messages_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      if (++taken_ == messages_.size()) {
        messages_.clear();
        taken_ = 0;
      }
      return arrival;
    }
    return std::nullopt;
  }

 private:
  struct Message {
    Action receive;
    double arrival = 0;
  };
  std::vector<Message> messages_;
  size_t taken_ = 0;
};

/// Runs every list as far as it goes; a rank that something may have freed is looked at again, so
/// the whole costs as many steps as there are actions.
class Machine {
 public:
  Machine(const Mesh& mesh, const std::vector<ActionList>& schedule, const ActionCosts& costs,
          SendMode mode, Timeline timeline)
      : mesh_(mesh), schedule_(schedule), costs_(costs), mode_(mode), timeline_(timeline) {
    const size_t ranks = schedule.size();
    ranks_.resize(ranks);
    meetings_.resize(mesh.buckets.size() + 1);
    if (timeline == Timeline::kKept) entries_.resize(ranks);
    result_.busy.assign(ranks, 0);
    result_.peak_bytes.assign(ranks, 0);
    for (size_t rank = ranks; rank-- > 0;) wake(static_cast<int>(rank));
  }

  Simulation run() {
    while (!awake_.empty()) {
      const int rank = awake_.back();
      awake_.pop_back();
      ranks_[at(rank)].awake = false;
      while (advance(rank)) {
      }
    }
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (head(static_cast<int>(rank))) result_.deadlock += waiting(static_cast<int>(rank));
      result_.ends.push_back(ranks_[rank].clock);
      result_.seconds = std::max(result_.seconds, ranks_[rank].clock);
    }
    for (const std::vector<TimelineEntry>& entries : entries_)
      result_.timeline.insert(result_.timeline.end(), entries.begin(), entries.end());
    return std::move(result_);
  }

 private:
  struct Rank {
    double clock = 0;    // when its last action ended
    size_t next = 0;     // index of the next action
    int64_t kept = 0;    // bytes
    bool awake = false;  // to be looked at
    bool met = false;    // counted in the meeting of its next action
    Inbox activations, gradients;

    Inbox& inbox(ActionKind receive) {
      return receive == ActionKind::kRecvActivation ? activations : gradients;
    }
  };

  /// A collective that ranks are gathering for.
  struct Meeting {
    size_t present = 0;
    double start = 0, took = 0;
  };

  static size_t at(int rank) { return static_cast<size_t>(rank); }

  const Action* head(int rank) const {
    const ActionList& list = schedule_[at(rank)];
    const size_t next = ranks_[at(rank)].next;
    return next < list.size() ? &list[next] : nullptr;
  }
  double seconds(int rank, const Action& action) const {
    return costs_.seconds ? costs_.seconds(rank, action) : 0;
  }
  bool exists(int rank) const { return rank >= 0 && at(rank) < ranks_.size(); }

  void wake(int rank) {
    if (ranks_[at(rank)].awake) return;
    ranks_[at(rank)].awake = true;
    awake_.push_back(rank);
  }

  /// Ends the rank's present action.
  void finish(int rank, double end) {
    const Action& action = *head(rank);
    Rank& state = ranks_[at(rank)];
    if (costs_.kept_bytes) {
      state.kept += costs_.kept_bytes(rank, action);
      result_.peak_bytes[at(rank)] = std::max(result_.peak_bytes[at(rank)], state.kept);
    }
    if (timeline_ == Timeline::kKept)
      entries_[at(rank)].push_back(
          {.rank = rank, .action = action, .begin = state.clock, .end = end});
    state.clock = end;
    state.met = false;
    ++state.next;
  }

  /// Runs the rank's next action if nothing it waits for is missing.
  bool advance(int rank) {
    const Action* action = head(rank);
    if (!action) return false;
    if (is_send(action->kind)) return send(rank, *action);
    if (is_receive(action->kind)) return receive(rank, *action);
    if (is_collective(action->kind)) return meet(rank, *action);
    const double took = seconds(rank, *action);
    result_.busy[at(rank)] += took;
    finish(rank, ranks_[at(rank)].clock + took);
    return true;
  }

  bool send(int rank, const Action& action) {
    const int to = action.peer;
    if (!exists(to)) return false;
    const Action expected = receive_of(action, rank);
    const double took = costs_.transfer_seconds ? costs_.transfer_seconds(rank, to, action) : 0;
    if (mode_ == SendMode::kBuffered) {
      ranks_[at(to)].inbox(expected.kind).put(expected, ranks_[at(rank)].clock + took);
      finish(rank, ranks_[at(rank)].clock);
      wake(to);
      return true;
    }
    const Action* other = head(to);
    if (!other || !(*other == expected)) return false;
    const double end = std::max(ranks_[at(rank)].clock, ranks_[at(to)].clock) + took;
    finish(rank, end);
    finish(to, end);
    wake(to);
    return true;
  }

  bool receive(int rank, const Action& action) {
    if (mode_ == SendMode::kRendezvous) {
      // The sender may have been waiting for this.
      if (exists(action.peer)) wake(action.peer);
      return false;
    }
    const std::optional<double> arrival = ranks_[at(rank)].inbox(action.kind).take(action);
    if (!arrival) return false;
    finish(rank, std::max(ranks_[at(rank)].clock, *arrival));
    return true;
  }

  /// Joins a collective; the last of its members runs it for all.
  bool meet(int rank, const Action& action) {
    const bool everyone = action.kind == ActionKind::kStep;
    static const std::vector<int> kNobody;
    const std::vector<int>& holders =
        everyone ? kNobody : mesh_.buckets.at(static_cast<size_t>(action.bucket)).holders;
    Rank& state = ranks_[at(rank)];
    if (state.met) return false;
    if (!everyone && !std::binary_search(holders.begin(), holders.end(), rank)) return false;
    Meeting& meeting = everyone ? meetings_.back() : meetings_[static_cast<size_t>(action.bucket)];
    state.met = true;
    const double own = seconds(rank, action);
    result_.busy[at(rank)] += own;
    meeting.start = std::max(meeting.start, state.clock);
    meeting.took = std::max(meeting.took, own);
    if (++meeting.present < (everyone ? ranks_.size() : holders.size())) return false;
    const double end = meeting.start + meeting.took;
    meeting = {};
    const auto leave = [&](int member) {
      finish(member, end);
      if (member != rank) wake(member);
    };
    if (everyone)
      for (size_t member = 0; member < ranks_.size(); ++member) leave(static_cast<int>(member));
    for (const int member : holders) leave(member);
    return true;
  }

  std::string waiting(int rank) const {
    return (result_.deadlock.empty() ? "rank " : "; rank ") + std::to_string(rank) + " waits at " +
           to_string(*head(rank)) + " (action " + std::to_string(ranks_[at(rank)].next + 1) +
           " of " + std::to_string(schedule_[at(rank)].size()) + ")";
  }

  const Mesh& mesh_;
  const std::vector<ActionList>& schedule_;
  const ActionCosts& costs_;
  const SendMode mode_;
  const Timeline timeline_;
  std::vector<Rank> ranks_;
  std::vector<int> awake_;
  std::vector<Meeting> meetings_;  // by bucket; the last one: Step
  std::vector<std::vector<TimelineEntry>> entries_;
  Simulation result_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Rank, kind, chunk or bucket, micro-batch (-1: any).
using Key = std::tuple<int, ActionKind, int, int>;

Key key_of(int rank, const Action& action, int micro_batch) {
  return {rank, action.kind, is_collective(action.kind) ? action.bucket : action.chunk,
          micro_batch};
}

}  // namespace

Simulation simulate(const Mesh& mesh, const std::vector<ActionList>& schedule,
                    const ActionCosts& costs, SendMode mode, Timeline timeline) {
  KENTE_CHECK(
      schedule.size() == static_cast<size_t>(mesh.num_ranks),
      std::to_string(schedule.size()) + " lists for " + std::to_string(mesh.num_ranks) + " ranks");
  return Machine(mesh, schedule, costs, mode, timeline).run();
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
