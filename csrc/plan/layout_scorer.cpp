#include "csrc/plan/layout_scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace kente {
namespace {

/// Ways of sharing out that are all tried, and how many ways to run each pipeline with that.
constexpr int64_t kMostCompositions = 16;
constexpr size_t kWays[] = {0, 1000, 24, 8, 4};

/// Up to so many pipelines are told apart when shares are improved.
constexpr int kFewPipelines = 8;
/// Pipelines, the shortest ones, at whose borders the others are tried to be cut.
constexpr size_t kReferences = 6;
/// A plan this much above what it must beat is not worth improving.
constexpr double kHopeful = 1.1;

/// In how many ways grains can be shared out to pipelines, each at least one.
int64_t compositions(int64_t grains, int64_t pipelines) {
  int64_t ways = 1;
  for (int64_t i = 1; i < pipelines && ways <= kMostCompositions; ++i)
    ways = ways * (grains - i) / i;
  return ways;
}

std::vector<PipelineRanks> one_by_one(const std::vector<PipelineRanks>& groups) {
  std::vector<PipelineRanks> apart;
  for (const PipelineRanks& group : groups)
    for (const std::vector<int>& pipeline : group) apart.push_back({pipeline});
  return apart;
}

}  // namespace

Plan plan_of(const Trial& trial, const CostModel& model) {
  const int head = model.recipe().model.num_layers() - 1;
  Plan plan;
  plan.schedule = trial.schedule;
  for (const TrialMember& member : trial.members)
    for (const std::vector<int>& ranks : member.pipelines) {
      ReplicaPlan& replica = plan.replicas.emplace_back();
      replica.share = member.share;
      replica.grains_per_micro_batch = member.option->grains_per_micro_batch;
      replica.under_way = member.option->run.under_way;
      int next = 0;
      for (size_t s = 0; s < ranks.size(); ++s) {
        int last = next + member.option->blocks[s] - (s == 0 ? 0 : 1);
        if (s + 1 == ranks.size()) last = head;
        replica.stages.push_back({.ranks = {ranks[s]},
                                  .layers = {{.first = next, .last = last}},
                                  .compute = model.compute_of_rank(ranks[s]),
                                  .recompute = member.option->run.recompute[s]});
        if (plan.schedule == ScheduleKind::kZeroBubble)
          replica.stages.back().times = member.option->run.times.at(s);
        next = last + 1;
      }
    }
  return plan;
}

/// Every share and way for a few pipelines, depth first.
class LayoutScorer::Exhaustive {
 public:
  Exhaustive(LayoutScorer& scorer, const Layout& layout, ScheduleKind schedule, double to_beat)
      : scorer_(scorer), best_value_(to_beat) {
    trial_.layout = layout;
    trial_.schedule = schedule;
    groups_ = write_out(layout, scorer.kinds_, scorer.model_.ranks());
    for (const PipelineRanks& group : groups_)
      for (const std::vector<int>& ranks : group) {
        alike_.push_back(&ranks != &group.front());
        trial_.members.push_back({.pipelines = {ranks}, .share = 0, .option = nullptr});
        classes_.push_back({.pipelines = {ranks}, .run = nullptr});
      }
  }

  std::optional<Trial> run() {
    place(0, scorer_.model_.recipe().grains_per_step());
    return std::move(best_);
  }

 private:
  void place(size_t index, int64_t grains) {
    if (index == trial_.members.size()) return leaf();
    TrialMember& member = trial_.members[index];
    const auto after = static_cast<int64_t>(trial_.members.size() - index) - 1;
    const int64_t least = after == 0 ? grains : 1;
    int64_t most = grains - after;
    // Of alike pipelines the first takes most: the others are the same plans again.
    if (alike_[index]) most = std::min(most, trial_.members[index - 1].share);
    const size_t ways = kWays[std::min<size_t>(trial_.members.size(), 4)];
    for (int64_t share = least; share <= most; ++share) {
      member.share = share;
      const std::vector<PipelineOption>& options =
          scorer_.catalogue_.options(member.pipelines.front(), share, trial_.schedule);
      for (size_t way = 0; way < std::min(ways, options.size()); ++way) {
        // A step takes at least as long as its slowest pipeline; further ways are slower still.
        if (scorer_.value_at_least(options[way].run.seconds(), groups_) >= best_value_) break;
        member.option = &options[way];
        classes_[index].run = &options[way].run;
        place(index + 1, grains - share);
      }
    }
  }

  void leaf() {
    const StepScore score = score_step(scorer_.model_, classes_);
    const double value = scorer_.value_of(score);
    if (value >= best_value_) return;
    best_value_ = value;
    best_ = trial_;
    best_->seconds = score.seconds;
    best_->value = value;
  }

  LayoutScorer& scorer_;
  std::vector<PipelineRanks> groups_;
  std::vector<bool> alike_;  // to the pipeline before
  Trial trial_;
  std::vector<PipelineClass> classes_;
  double best_value_;
  std::optional<Trial> best_;
};

LayoutScorer::LayoutScorer(const CostModel& model, const RankKinds& kinds,
                           PipelineCatalogue& catalogue, Objective objective)
    : model_(model), kinds_(kinds), catalogue_(catalogue), objective_(objective) {}

double LayoutScorer::value_of(const StepScore& score) const {
  if (objective_ == Objective::kEnergy) return score.joules.value_or(kNoValue);
  if (objective_ == Objective::kMoney) return score.price.value_or(kNoValue);
  return score.seconds;
}

double LayoutScorer::value_at_least(double seconds,
                                    const std::vector<PipelineRanks>& groups) const {
  if (objective_ == Objective::kTime) return seconds;
  double value = 0;
  for (const PipelineRanks& group : groups)
    for (const int rank : group.front()) {
      const DeviceProfile& device =
          model_.cluster().devices[static_cast<size_t>(model_.ranks().device_of(rank))];
      const double rate = objective_ == Objective::kMoney ? device.price_per_hour.value_or(0) / 3600
                                                          : std::min(device.idle_watts.value_or(0),
                                                                     device.busy_watts.value_or(0));
      value += static_cast<double>(group.size()) * rate * seconds;
    }
  return value;
}

double LayoutScorer::bound(const Layout& layout, ScheduleKind schedule) {
  const std::vector<PipelineRanks> groups = write_out(layout, kinds_, model_.ranks());
  double rate = 0;
  for (const PipelineRanks& group : groups)
    rate += static_cast<double>(group.size()) *
            catalogue_.most_grains_per_second(group.front(), schedule);
  const auto grains = static_cast<double>(model_.recipe().grains_per_step());
  return value_at_least(rate > 0 ? grains / rate : kNoValue, groups);
}

std::optional<Trial> LayoutScorer::best(const Layout& layout, ScheduleKind schedule,
                                        double to_beat) {
  const int64_t grains = model_.recipe().grains_per_step();
  const int pipelines = count_pipelines(layout);
  if (pipelines > grains) return std::nullopt;
  if (pipelines <= 4 && compositions(grains, pipelines) <= kMostCompositions)
    return Exhaustive(*this, layout, schedule, to_beat).run();
  return fill(layout, schedule, to_beat);
}

std::optional<Trial> LayoutScorer::rescheduled(Trial trial, ScheduleKind schedule) {
  trial.schedule = schedule;
  for (TrialMember& member : trial.members) {
    member.option =
        catalogue_.rescheduled(*member.option, member.pipelines.front(), member.share, schedule);
    if (!member.option) return std::nullopt;
  }
  score(trial);
  return trial;
}

void LayoutScorer::score(Trial& trial) const {
  std::vector<PipelineClass> classes;
  for (const TrialMember& member : trial.members)
    classes.push_back({.pipelines = member.pipelines, .run = &member.option->run});
  const StepScore score = score_step(model_, classes);
  trial.seconds = score.seconds;
  trial.value = value_of(score);
}

/// Shares near which pipelines end together: by rate, corrected for what they need besides.
std::vector<int64_t> LayoutScorer::first_shares(const std::vector<PipelineRanks>& groups,
                                                ScheduleKind schedule) {
  const int64_t grains = model_.recipe().grains_per_step();
  std::vector<double> rates, overheads(groups.size(), 0);
  for (const PipelineRanks& group : groups)
    rates.push_back(catalogue_.most_grains_per_second(group.front(), schedule));
  std::vector<int64_t> shares(groups.size(), 1);
  for (int round = 0; round < 3; ++round) {
    double given = static_cast<double>(grains), rate = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
      const auto count = static_cast<double>(groups[g].size());
      given += count * overheads[g] * rates[g];
      rate += count * rates[g];
    }
    const double end = given / rate;
    for (size_t g = 0; g < groups.size(); ++g) {
      shares[g] = std::max<int64_t>(1, static_cast<int64_t>((end - overheads[g]) * rates[g]));
      const double seconds = catalogue_.seconds(groups[g].front(), shares[g], schedule);
      if (!std::isfinite(seconds)) {
        shares[g] = 1;
        continue;
      }
      overheads[g] = seconds - static_cast<double>(shares[g]) / rates[g];
    }
  }
  // A little less for each: the rest goes grain by grain to who is done first.
  int64_t sum = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    shares[g] = std::max<int64_t>(1, shares[g] - std::max<int64_t>(2, shares[g] / 100));
    sum += shares[g] * static_cast<int64_t>(groups[g].size());
  }
  if (sum > grains) std::fill(shares.begin(), shares.end(), 1);
  return shares;
}

std::vector<TrialMember> LayoutScorer::fill_shares(const std::vector<PipelineRanks>& groups,
                                                   ScheduleKind schedule) {
  std::vector<int64_t> shares = first_shares(groups, schedule);
  std::vector<int64_t> extra(groups.size(), 0);  // pipelines of a group with a grain more
  int64_t left = model_.recipe().grains_per_step();
  for (size_t g = 0; g < groups.size(); ++g)
    left -= shares[g] * static_cast<int64_t>(groups[g].size());
  while (left > 0) {
    size_t chosen = groups.size();
    double soonest = kNoValue;
    for (size_t g = 0; g < groups.size(); ++g) {
      const double end = catalogue_.seconds(groups[g].front(), shares[g] + 1, schedule);
      if (end >= soonest) continue;
      soonest = end;
      chosen = g;
    }
    if (chosen == groups.size()) return {};
    const int64_t given = std::min(left, static_cast<int64_t>(groups[chosen].size()));
    left -= given;
    if (given == static_cast<int64_t>(groups[chosen].size())) {
      ++shares[chosen];
    } else {
      extra[chosen] = given;
    }
  }
  std::vector<TrialMember> members;
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto more = groups[g].begin() + static_cast<std::ptrdiff_t>(extra[g]);
    if (extra[g] > 0)
      members.push_back(
          {.pipelines = {groups[g].begin(), more}, .share = shares[g] + 1, .option = nullptr});
    if (more != groups[g].end())
      members.push_back(
          {.pipelines = {more, groups[g].end()}, .share = shares[g], .option = nullptr});
  }
  return members;
}

std::optional<Trial> LayoutScorer::fill(const Layout& layout, ScheduleKind schedule,
                                        double to_beat) {
  std::vector<PipelineRanks> groups = write_out(layout, kinds_, model_.ranks());
  const bool few = count_pipelines(layout) <= kFewPipelines;
  if (few) groups = one_by_one(groups);
  for (const PipelineRanks& group : groups)
    if (catalogue_.most_grains_per_second(group.front(), schedule) <= 0) return std::nullopt;
  Trial trial;
  trial.layout = layout;
  trial.schedule = schedule;
  trial.members = fill_shares(groups, schedule);
  if (trial.members.empty()) return std::nullopt;
  // What pipelines need without any collective already says when nothing is to be won.
  if (catalogue_.effort() == Effort::kQuick)
    for (const TrialMember& member : trial.members)
      if (value_at_least(catalogue_.seconds(member.pipelines.front(), member.share, schedule),
                         groups) >= to_beat)
        return std::nullopt;
  if (!choose_ways(trial)) return std::nullopt;
  if (catalogue_.effort() == Effort::kThorough) improve_ways(trial);
  if (few && trial.value < kHopeful * to_beat) improve_shares(trial);
  if (trial.value >= to_beat) return std::nullopt;
  return trial;
}

void LayoutScorer::align(Trial& trial, size_t reference) {
  std::vector<int> borders;
  int placed = 0;
  for (const int blocks : trial.members[reference].option->blocks) {
    placed += blocks;
    if (placed > 0 && placed < model_.recipe().model.num_hidden_layers) borders.push_back(placed);
  }
  for (size_t m = 0; m < trial.members.size() && !borders.empty(); ++m) {
    if (m == reference) continue;
    TrialMember& member = trial.members[m];
    const PipelineOption* const option =
        catalogue_.aligned(member.pipelines.front(), member.share, trial.schedule, borders);
    if (option) member.option = option;
  }
}

bool LayoutScorer::choose_ways(Trial& trial) {
  std::vector<size_t> by_length(trial.members.size());
  std::iota(by_length.begin(), by_length.end(), size_t{0});
  std::stable_sort(by_length.begin(), by_length.end(), [&](size_t a, size_t b) {
    return trial.members[a].pipelines.front().size() < trial.members[b].pipelines.front().size();
  });
  // In quick search only the reference is free, so that each pipeline is run once.
  const bool quick = catalogue_.effort() == Effort::kQuick && trial.members.size() > 1;
  const size_t shortest = *std::find_if(by_length.begin(), by_length.end(), [&](size_t m) {
    return trial.members[m].pipelines.front().size() > 1 || m == by_length.back();
  });
  if (!set_share(trial, shortest, trial.members[shortest].share)) return false;
  if (quick) align(trial, shortest);
  for (size_t m = 0; m < trial.members.size(); ++m)
    if (!trial.members[m].option && !set_share(trial, m, trial.members[m].share)) return false;
  score(trial);
  if (quick) return true;
  const Trial free = trial;
  for (size_t i = 0; i < std::min(kReferences, by_length.size()); ++i) {
    Trial tried = free;
    align(tried, by_length[i]);
    score(tried);
    if (tried.value < trial.value) trial = std::move(tried);
  }
  return true;
}

/// A way that is not the fastest alone may be the best together: others hold the same layers.
void LayoutScorer::improve_ways(Trial& trial) {
  for (size_t m = 0; m < trial.members.size(); ++m) {
    const std::vector<PipelineOption>& options = catalogue_.options(
        trial.members[m].pipelines.front(), trial.members[m].share, trial.schedule);
    for (const PipelineOption& option : options) {
      if (value_at_least(option.run.seconds(), {}) >= trial.value && objective_ == Objective::kTime)
        break;
      Trial tried = trial;
      tried.members[m].option = &option;
      score(tried);
      if (tried.value < trial.value) trial = std::move(tried);
    }
  }
}

/// Moves grains from the pipeline that ends last, one or a micro-batch at a time.
void LayoutScorer::improve_shares(Trial& trial) {
  for (bool better = true; better;) {
    size_t last = 0;
    for (size_t m = 1; m < trial.members.size(); ++m)
      if (trial.members[m].option->run.seconds() > trial.members[last].option->run.seconds())
        last = m;
    Trial best = trial;
    for (size_t to = 0; to < trial.members.size(); ++to) {
      for (const int64_t grains : {int64_t{1}, trial.members[last].option->grains_per_micro_batch,
                                   trial.members[to].option->grains_per_micro_batch}) {
        if (to == last || trial.members[last].share <= grains) continue;
        Trial tried = trial;
        if (!set_share(tried, last, tried.members[last].share - grains) ||
            !set_share(tried, to, tried.members[to].share + grains))
          continue;
        score(tried);
        if (tried.value < best.value * (1 - 1e-9)) best = std::move(tried);
      }
    }
    better = best.value < trial.value;
    if (better) trial = std::move(best);
  }
}

bool LayoutScorer::set_share(Trial& trial, size_t member, int64_t share) {
  TrialMember& changed = trial.members[member];
  const std::vector<PipelineOption>& options =
      catalogue_.options(changed.pipelines.front(), share, trial.schedule);
  if (options.empty()) return false;
  changed.share = share;
  changed.option = &options.front();
  return true;
}

}  // namespace kente
