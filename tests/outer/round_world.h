#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/outer/round_history.h"

namespace kente {

/// A hub and its labs in one thread: their clock, network and disks are made of one seed, and so
/// are the faults. Messages are lost, doubled, late and out of order, connections cut in one or
/// both directions; processes die at any point and come back from what their disks have, while some
/// of the dead go on as ghosts; writes that were not durable are lost; a lab's weights are wrong
/// after a round. After a while all faults end, and everybody has to have caught up a little later.
/// Source of the idea: Zhou et al. 2021, "FoundationDB", SIGMOD, section 4.
class RoundWorld {
 public:
  explicit RoundWorld(uint64_t seed);
  ~RoundWorld();

  /// Runs to the end or the first failure; empty: nothing was wrong.
  std::string run();
  int64_t rounds_done() const;
  /// What happened and how often, to see that the faults are there.
  const std::map<std::string, int64_t>& happened() const { return happened_; }

 private:
  struct HubProcess;
  struct Lab;
  struct LabRun;
  using Time = int64_t;

  void at(Time when, std::function<void()> what);
  bool chance(double probability);
  int64_t between(int64_t low, int64_t high);
  bool faulty() const { return now_ < faults_end_; }

  void start_hub();
  void kill_hub();
  void act(const std::shared_ptr<HubProcess>& hub, RoundHub::Actions actions);
  void act(const std::shared_ptr<HubProcess>& hub, const SendToLab& send);
  void act(const std::shared_ptr<HubProcess>& hub, const WriteLog& write);
  void act(const std::shared_ptr<HubProcess>& hub, const Aggregate& aggregate);
  void act(const std::shared_ptr<HubProcess>& hub, const Forget& forget);
  void act(const std::shared_ptr<HubProcess>& hub, const Alarm& alarm);
  void wake(const std::shared_ptr<HubProcess>& hub);

  void start_lab(Lab& lab);
  void kill_lab(Lab& lab);
  void act(const std::shared_ptr<LabRun>& run, RoundLab::Actions actions);
  void act(const std::shared_ptr<LabRun>& run, const SendToHub& send);
  void act(const std::shared_ptr<LabRun>& run, const TrainRound& train);
  void act(const std::shared_ptr<LabRun>& run, const ApplyCommit& apply);
  void act(const std::shared_ptr<LabRun>& run, const FetchWeights& fetch);
  void act(const std::shared_ptr<LabRun>&, const Release&) {}
  void act(const std::shared_ptr<LabRun>& run, const StopLab& stop);
  void finish_apply(const std::shared_ptr<LabRun>& run, const ApplyCommit& apply);
  void finish_fetch(const std::shared_ptr<LabRun>& run, const FetchWeights& fetch);
  void wake(const std::shared_ptr<LabRun>& run);
  void store(const std::shared_ptr<LabRun>& run);

  void deliver(bool cut, std::function<void()> what);
  void plan_fault();
  void end_faults();

  std::mt19937_64 random_;
  RoundPolicy policy_;
  RoundHistory history_;
  Time now_ = 0;
  Time faults_end_ = 0, end_ = 0;
  uint64_t events_ = 0;
  struct Event {
    Time when;
    uint64_t number;
    std::function<void()> what;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return std::tie(a.when, a.number) > std::tie(b.when, b.number);
    }
  };
  std::priority_queue<Event, std::vector<Event>, Later> queue_;
  std::map<std::string, int64_t> happened_;

  // The hub's disk, and its processes: the last one holds the log, the others are ghosts.
  std::vector<LogRecord> log_;
  std::map<int64_t, Digest> aggregates_;
  std::vector<std::shared_ptr<HubProcess>> hubs_;
  bool hub_up_ = false;
  std::vector<std::unique_ptr<Lab>> labs_;
  int64_t rounds_at_faults_end_ = 0;
  bool corruption_ = false;  // this seed has wrong weights
  LabId corrupted_;          // one lab a run
};

}  // namespace kente
