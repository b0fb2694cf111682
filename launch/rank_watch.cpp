#include "launch/rank_watch.h"

#include <fmt/format.h>

#include <algorithm>

namespace kente {
namespace {

constexpr size_t kRemembered = 512;
constexpr double kTimesUsual = 10;

bool takes_its_time(Phase phase) {
  return phase == Phase::kStart || phase == Phase::kValidate || phase == Phase::kSave ||
         phase == Phase::kEnd;
}

}  // namespace

void PhaseTimes::add(Phase phase, double seconds) {
  std::deque<double>& all = seconds_.at(static_cast<size_t>(phase));
  all.push_back(seconds);
  if (all.size() > kRemembered) all.pop_front();
}

double PhaseTimes::p99(Phase phase) const {
  const std::deque<double>& all = seconds_.at(static_cast<size_t>(phase));
  if (all.empty()) return 0;
  std::vector<double> sorted(all.begin(), all.end());
  const auto at = sorted.begin() + static_cast<int64_t>((sorted.size() - 1) * 99 / 100);
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

RankWatch::RankWatch(int ranks, const Limits& limits, PhaseTimes& times, double now)
    : limits_(limits), times_(times), began_(now), ranks_(static_cast<size_t>(ranks)) {}

void RankWatch::joined(int rank, double now) {
  Rank& at = ranks_.at(static_cast<size_t>(rank));
  at.joined = true;
  at.heard = at.changed = now;
}

void RankWatch::progress(int rank, const ProgressBoard::Entry& entry, double now) {
  Rank& at = ranks_.at(static_cast<size_t>(rank));
  at.heard = now;
  if (entry.changes != at.entry.changes) {
    times_.add(at.entry.phase, now - at.changed);
    at.changed = now;
  }
  at.entry = entry;
}

void RankWatch::left(int rank) { ranks_.at(static_cast<size_t>(rank)).left = true; }

double RankWatch::limit(Phase phase) const {
  const double usual = times_.p99(phase);
  // Before a phase was seen once, nobody knows what it takes on these machines.
  if (takes_its_time(phase) || usual == 0) return std::max(limits_.patience, kTimesUsual * usual);
  return std::max(limits_.stuck, kTimesUsual * usual);
}

std::optional<RankWatch::Suspect> RankWatch::suspect(double now) const {
  const Rank* silent = nullptr;
  const Rank* stuck = nullptr;
  bool all_wait = true;
  int here = 0;
  for (const Rank& rank : ranks_) {
    if (rank.left) return std::nullopt;  // the run is ending; mpirun's end says how
    if (!rank.joined) continue;
    ++here;
    if (now - rank.heard > limits_.silence && (!silent || rank.heard < silent->heard))
      silent = &rank;
    const bool over = now - rank.changed > limit(rank.entry.phase);
    all_wait = all_wait && over;
    if (over && !waits_for_others(rank.entry.phase) && (!stuck || rank.changed < stuck->changed))
      stuck = &rank;
  }
  const auto number = [&](const Rank* rank) { return static_cast<int>(rank - ranks_.data()); };
  if (silent)
    return Suspect{.rank = number(silent),
                   .why = fmt::format("no heartbeat for {:.1f} s in {}", now - silent->heard,
                                      where(number(silent)))};
  if (stuck)
    return Suspect{
        .rank = number(stuck),
        .why = fmt::format("stuck for {:.1f} s in {}", now - stuck->changed, where(number(stuck)))};
  if (here == static_cast<int>(ranks_.size()) && all_wait)
    return Suspect{.rank = -1, .why = "every rank waits, rank 0 in " + where(0)};
  if (here < static_cast<int>(ranks_.size()) && now - began_ > limits_.patience)
    return Suspect{.rank = -1,
                   .why = fmt::format("{} of {} ranks came within {:.0f} s", here, ranks_.size(),
                                      limits_.patience)};
  return std::nullopt;
}

int RankWatch::joined() const {
  return static_cast<int>(
      std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.joined; }));
}

int64_t RankWatch::finished_step() const {
  int64_t newest = 0;
  for (const Rank& rank : ranks_) newest = std::max(newest, rank.entry.step);
  return newest;
}

std::string RankWatch::where(int rank) const {
  const ProgressBoard::Entry& at = entry(rank);
  if (at.phase == Phase::kStart || at.phase == Phase::kEnd) return std::string(name_of(at.phase));
  std::string text = fmt::format("step {}, {}", at.step + 1, name_of(at.phase));
  if (at.micro_batch >= 0) text += fmt::format(" of micro-batch {}", at.micro_batch);
  return text;
}

}  // namespace kente
