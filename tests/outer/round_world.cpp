#include "tests/outer/round_world.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "csrc/base/hash.h"
#include "csrc/outer/round_log.h"

namespace kente {
namespace {

// Milliseconds.
constexpr int64_t kFaultsFor = 60'000;
constexpr int64_t kCalmFor = 60'000;
constexpr int64_t kRoundsWhenCalm = 4;

RoundPolicy policy_of(std::mt19937_64& random, int labs) {
  return {.quorum = static_cast<int>(1 + random() % static_cast<uint64_t>(labs)),
          .round_time = 4000,
          .vote_time = 2000,
          .silence = 3000,
          .ask_every = 500,
          .rounds_kept = 4,
          .initial_weights = "start"};
}

}  // namespace

struct RoundWorld::HubProcess {
  RoundHub machine;
  bool alive = true;
  bool holds_log = true;  // else a ghost: what it writes is refused
  std::deque<LogRecord> writing = {};
  Time disk_free = 0;
  Time wakes_at = std::numeric_limits<Time>::max();
};

struct RoundWorld::LabRun {
  Lab* lab;
  LabProcess id;
  RoundLab machine;
  bool alive = true;
  bool ghost = false;
  int64_t task = 0;  // what it trains or does; a later one stops an earlier one
  std::map<int64_t, Digest> kept = {};
  Time stopped_until = 0;
  Time wakes_at = std::numeric_limits<Time>::max();
};

struct RoundWorld::Lab {
  LabId id;
  int64_t speed;  // milliseconds a round
  uint64_t sessions = 0;
  int64_t stored_round = 0;
  Digest stored_weights;
  Time cut_up_until = 0, cut_down_until = 0;
  std::vector<std::shared_ptr<LabRun>> runs;
  std::shared_ptr<LabRun> current;
};

RoundWorld::RoundWorld(uint64_t seed) : random_(seed), history_(RoundPolicy{}) {
  const int labs = static_cast<int>(1 + random_() % 5);
  policy_ = policy_of(random_, labs);
  history_ = RoundHistory(policy_);
  faults_end_ = kFaultsFor;
  end_ = kFaultsFor + kCalmFor;
  // A quorum that one wrong lab cannot be: else nothing can tell who is wrong.
  corruption_ = labs >= 3 && policy_.quorum >= 2 && chance(0.5);
  for (int i = 0; i < labs; ++i) {
    labs_.push_back(std::make_unique<Lab>());
    labs_.back()->id = std::string("lab-") + static_cast<char>('a' + i);
    labs_.back()->speed = between(300, 3000);
    labs_.back()->stored_weights = policy_.initial_weights;
  }
  corrupted_ = labs_[random_() % labs_.size()]->id;
}

RoundWorld::~RoundWorld() = default;

int64_t RoundWorld::rounds_done() const {
  return hub_up_ ? hubs_.back()->machine.rounds_done() : 0;
}

void RoundWorld::at(Time when, std::function<void()> what) {
  queue_.push({when, events_++, std::move(what)});
}

bool RoundWorld::chance(double probability) {
  return static_cast<double>(random_() >> 11) * 0x1p-53 < probability;
}

int64_t RoundWorld::between(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random_() % static_cast<uint64_t>(high - low + 1));
}

std::string RoundWorld::run() {
  start_hub();
  for (const auto& lab : labs_) start_lab(*lab);
  plan_fault();
  at(faults_end_, [this] { end_faults(); });
  while (!queue_.empty() && queue_.top().when <= end_ && history_.failure().empty()) {
    const Event event = queue_.top();
    queue_.pop();
    now_ = event.when;
    event.what();
  }
  if (!history_.failure().empty()) return history_.failure();
  if (rounds_done() < rounds_at_faults_end_ + kRoundsWhenCalm)
    return "no rounds after those " + std::to_string(rounds_at_faults_end_) + " with faults";
  for (const auto& lab : labs_)
    if (lab->current->machine.rounds_applied() + 1 < rounds_done())
      return lab->id + " was left behind of round " + std::to_string(rounds_done());
  return {};
}

void RoundWorld::start_hub() {
  const auto hub = std::make_shared<HubProcess>(HubProcess{.machine = RoundHub(policy_)});
  std::string lines;
  for (const LogRecord& record : log_) lines += log_line(record);
  const ReadLog read = read_log(lines, "log");
  if (read.records.size() != log_.size()) history_.fail("the log lost records");
  for (const LogRecord& record : read.records) hub->machine.replay(record);
  hubs_.push_back(hub);
  hub_up_ = true;
  act(hub, hub->machine.start(now_));
}

void RoundWorld::kill_hub() {
  if (!hub_up_) return;
  ++happened_["hub killed"];
  hub_up_ = false;
  HubProcess& hub = *hubs_.back();
  hub.holds_log = false;
  // Of what was not durable yet a beginning may be there.
  while (!hub.writing.empty() && chance(0.5)) {
    log_.push_back(hub.writing.front());
    hub.writing.pop_front();
    ++happened_["record written, never acknowledged"];
  }
  hub.alive = chance(0.3);
  if (hub.alive) ++happened_["hub's ghost"];
  at(now_ + between(200, 3000), [this] {
    if (!hub_up_) start_hub();
  });
}

void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, RoundHub::Actions actions) {
  for (const HubAction& action : actions)
    std::visit([&](const auto& what) { act(hub, what); }, action);
  wake(hub);
}

void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, const SendToLab& send) {
  if (hub->holds_log) {
    history_.hub_says(send.lab, send.message, log_, aggregates_);
  } else {
    history_.ghost_says(send.message, log_);
  }
  for (const auto& lab : labs_) {
    if (lab->id != send.lab) continue;
    for (const auto& run : lab->runs)
      deliver(now_ < lab->cut_down_until, [this, run, message = send.message] {
        if (!run->alive) return;
        const auto receive = [this, run, message] {
          if (run->alive) act(run, run->machine.receive(message, now_));
        };
        now_ < run->stopped_until ? at(run->stopped_until, receive) : receive();
      });
  }
}

void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, const WriteLog& write) {
  hub->writing.push_back(write.record);
  hub->disk_free = std::max(now_, hub->disk_free) + between(1, 40);
  at(hub->disk_free, [this, hub] {
    if (!hub->alive || !hub->holds_log) return;
    log_.push_back(hub->writing.front());
    hub->writing.pop_front();
    act(hub, hub->machine.logged(now_));
  });
}

void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, const Aggregate& aggregate) {
  RoundCommit commit;
  commit.contributions = aggregate.contributions;
  const int64_t round = aggregate.round;
  at(now_ + between(5, 300), [this, hub, round, sum = digest_of_sum(commit)] {
    if (!hub->alive || !hub->holds_log) return;
    aggregates_[round] = sum;
    act(hub, hub->machine.aggregated(round, sum));
  });
}

void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, const Forget& forget) {
  if (hub->holds_log) aggregates_.erase(aggregates_.begin(), aggregates_.upper_bound(forget.round));
}

/// Logs keep what was durable; of a wrong lab's vote and one right one the hub may warn too early.
/// A ghost's log is behind.
void RoundWorld::act(const std::shared_ptr<HubProcess>& hub, const Alarm& alarm) {
  const bool vote = alarm.what.find("no majority") != std::string::npos;
  if (hub->holds_log && !(vote && corruption_)) history_.fail("alarm: " + alarm.what);
}

void RoundWorld::wake(const std::shared_ptr<HubProcess>& hub) {
  const Time next = std::max(now_, hub->machine.next_deadline());
  if (hub->machine.next_deadline() > end_ || next >= hub->wakes_at) return;
  hub->wakes_at = next;
  at(next, [this, hub] {
    hub->wakes_at = std::numeric_limits<Time>::max();
    if (!hub->alive) return;
    if (hub->machine.next_deadline() <= now_) {
      act(hub, hub->machine.tick(now_));
    } else {
      wake(hub);
    }
  });
}

void RoundWorld::start_lab(Lab& lab) {
  const LabProcess id{lab.id, ++lab.sessions};
  lab.current = std::make_shared<LabRun>(
      LabRun{.lab = &lab,
             .id = id,
             .machine = RoundLab(policy_, lab.id, id.session, lab.stored_round, lab.stored_weights),
             .kept = {{lab.stored_round, lab.stored_weights}}});
  lab.runs.push_back(lab.current);
  history_.lab_starts(id, lab.stored_round);
  act(lab.current, lab.current->machine.start(now_));
}

void RoundWorld::kill_lab(Lab& lab) {
  if (!lab.current) return;
  ++happened_["lab killed"];
  lab.current->ghost = true;
  lab.current->alive = chance(0.3);
  if (lab.current->alive) ++happened_["lab's ghost"];
  lab.current.reset();
  at(now_ + between(200, 12'000), [this, &lab] {
    if (!lab.current) start_lab(lab);
  });
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, RoundLab::Actions actions) {
  for (const LabAction& action : actions)
    std::visit([&](const auto& what) { act(run, what); }, action);
  wake(run);
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, const SendToHub& send) {
  for (const auto& hub : hubs_)
    deliver(now_ < run->lab->cut_up_until, [this, hub, lab = run->id.lab, message = send.message] {
      if (hub->alive) act(hub, hub->machine.receive(lab, message, now_));
    });
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, const TrainRound& train) {
  const int64_t task = ++run->task;
  const int64_t takes = run->lab->speed + between(0, run->lab->speed / 2);
  at(now_ + takes, [this, run, task, round = train.round, base = run->machine.weights()] {
    // The last inner step may end while something else has begun.
    if (!run->alive || (run->task != task && !chance(0.2))) return;
    const std::string text = run->id.lab + std::to_string(run->id.session) + "." +
                             std::to_string(round) + "." + std::to_string(task);
    const Digest payload = hex64(xxh3_64(text.data(), text.size()));
    history_.lab_trained(run->id, round, base, payload);
    act(run, run->machine.trained(round, base, payload, 100 + task));
  });
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, const ApplyCommit& apply) {
  ++run->task;
  history_.lab_applies(run->id, apply);
  at(now_ + between(10, 400), [this, run, apply] { finish_apply(run, apply); });
}

void RoundWorld::finish_apply(const std::shared_ptr<LabRun>& run, const ApplyCommit& apply) {
  if (!run->alive) return;
  const auto aggregate = aggregates_.find(apply.commit.round);
  if (!hub_up_ || aggregate == aggregates_.end() || aggregate->second != apply.commit.aggregate) {
    ++happened_["no aggregate to apply"];
    return act(run, run->machine.apply_failed());
  }
  Digest weights = digest_of_weights(apply.commit.base, apply.commit.aggregate);
  const bool corrupt = corruption_ && faulty() && run->id.lab == corrupted_ && chance(0.15);
  if (corrupt) {
    ++happened_["wrong weights"];
    weights = digest_of_weights(weights, "flipped " + std::to_string(now_));
  }
  history_.lab_applied(run->id, apply.commit.round, weights, corrupt);
  run->kept[apply.commit.round] = weights;
  if (run->kept.size() > 2) run->kept.erase(run->kept.begin());
  auto actions = run->machine.applied(apply.commit.round, weights);
  store(run);
  act(run, std::move(actions));
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, const FetchWeights& fetch) {
  ++run->task;
  at(now_ + between(50, 1500), [this, run, fetch] { finish_fetch(run, fetch); });
}

void RoundWorld::finish_fetch(const std::shared_ptr<LabRun>& run, const FetchWeights& fetch) {
  if (!run->alive) return;
  const auto source = std::ranges::find_if(labs_, [&](const auto& lab) {
    if (lab->id != fetch.from || !lab->current) return false;
    const auto has = lab->current->kept.find(fetch.round);
    return has != lab->current->kept.end() && has->second == fetch.weights;
  });
  if (source == labs_.end()) {
    ++happened_["healing failed"];
    return act(run, run->machine.heal_failed());
  }
  ++happened_["healed"];
  history_.lab_healed(run->id, fetch.round, fetch.weights);
  run->kept = {{fetch.round, fetch.weights}};
  auto actions = run->machine.healed(fetch.round, fetch.weights);
  store(run);
  act(run, std::move(actions));
}

void RoundWorld::act(const std::shared_ptr<LabRun>& run, const StopLab&) {
  ++happened_["ghost stopped"];
  history_.lab_stops(run->id);
  run->alive = false;
}

void RoundWorld::store(const std::shared_ptr<LabRun>& run) {
  if (run->ghost || !chance(0.4)) return;
  run->machine.stored(run->machine.rounds_applied());
  run->lab->stored_round = run->machine.rounds_applied();
  run->lab->stored_weights = run->machine.weights();
}

void RoundWorld::wake(const std::shared_ptr<LabRun>& run) {
  const Time next = std::max({now_, run->machine.next_deadline(), run->stopped_until});
  if (run->machine.next_deadline() > end_ || next >= run->wakes_at) return;
  run->wakes_at = next;
  at(next, [this, run] {
    run->wakes_at = std::numeric_limits<Time>::max();
    if (!run->alive) return;
    if (run->machine.next_deadline() <= now_ && now_ >= run->stopped_until) {
      act(run, run->machine.tick(now_));
    } else {
      wake(run);
    }
  });
}

void RoundWorld::deliver(bool cut, std::function<void()> what) {
  if (cut) {
    ++happened_["cut"];
    return;
  }
  if (faulty() && chance(0.05)) {
    ++happened_["lost"];
    return;
  }
  const int copies = faulty() && chance(0.05) ? 2 : 1;
  for (int i = 0; i < copies; ++i)
    at(now_ + (faulty() && chance(0.03) ? between(100, 5000) : between(1, 60)), what);
}

void RoundWorld::plan_fault() {
  at(now_ + between(50, 3000), [this] {
    if (!faulty()) return;
    Lab& lab = *labs_[random_() % labs_.size()];
    switch (random_() % 5) {
      case 0:
        kill_hub();
        break;
      case 1:
        kill_lab(lab);
        break;
      case 2:
        lab.cut_up_until = now_ + between(200, 8000);
        if (chance(0.5)) lab.cut_down_until = lab.cut_up_until;
        break;
      case 3:
        lab.cut_down_until = now_ + between(200, 8000);
        break;
      default:
        if (lab.current) lab.current->stopped_until = now_ + between(200, 9000);
    }
    plan_fault();
  });
}

void RoundWorld::end_faults() {
  for (const auto& lab : labs_) {
    lab->cut_up_until = lab->cut_down_until = 0;
    if (!lab->current) start_lab(*lab);
  }
  if (!hub_up_) start_hub();
  // What was under way when the last fault struck comes to its end first.
  at(now_ + 10'000, [this] { rounds_at_faults_end_ = rounds_done(); });
}

}  // namespace kente
