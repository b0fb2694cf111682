#include "csrc/plan/layout_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace kente {
namespace {

constexpr int kMostBeamRanks = 64;  // beyond, only whole kinds move
constexpr size_t kBeam = 3;
constexpr size_t kTriedPerRound = 48;
constexpr int kBeamRounds = 24;
constexpr int kLevels = 10;
constexpr size_t kDescents = 2;
constexpr double kDetour = 1.25;
constexpr DealtKinds::Leftovers kLeftovers[] = {DealtKinds::Leftovers::kDealt,
                                                DealtKinds::Leftovers::kSpare};

using Groups = std::vector<DealtKinds>;

class Search {
 public:
  Search(const CostModel& model, const PlanOptions& options, const RankKinds& kinds,
         PipelineCatalogue& catalogue, Finalists& finalists)
      : options_(options),
        kinds_(kinds),
        catalogue_(catalogue),
        finalists_(finalists),
        scorer_(model, kinds, catalogue, options.objective),
        table_(model.ranks()),
        longest_(static_cast<int>(model.recipe().model.num_hidden_layers) + 2),
        grains_(model.recipe().grains_per_step()) {}

  void run() {
    std::vector<Layout> layouts;
    if (table_.num_ranks() <= 16 &&
        for_all_layouts(kinds_, longest_, grains_, options_.most_layouts,
                        [&](const Layout& layout) { layouts.push_back(layout); }))
      return try_in_order(layouts, layouts.size());
    for (const std::vector<std::vector<int>>& grouping : groupings()) start(grouping);
    if (table_.num_ranks() <= kMostBeamRanks) beam();
  }

 private:
  /// The layouts by their bounds, the most promising first, until no bound is low enough or most
  /// have been scored.
  void try_in_order(const std::vector<Layout>& layouts, size_t most) {
    struct Ranked {
      double bound;
      size_t index;
      ScheduleKind schedule;
    };
    std::vector<Ranked> order;
    for (size_t i = 0; i < layouts.size(); ++i)
      for (const ScheduleKind schedule : options_.schedules)
        order.push_back({scorer_.bound(layouts[i], schedule), i, schedule});
    std::stable_sort(order.begin(), order.end(),
                     [](const Ranked& a, const Ranked& b) { return a.bound < b.bound; });
    if (order.size() > most * options_.schedules.size())
      order.resize(most * options_.schedules.size());
    for (const Ranked& next : order) {
      if (next.bound >= finalists_.to_beat()) break;
      consider(layouts[next.index], next.schedule);
    }
  }

  void consider(const Layout& layout, ScheduleKind schedule) {
    std::optional<Trial> trial = scorer_.best(layout, schedule, finalists_.to_beat());
    if (trial) finalists_.offer(std::move(*trial));
  }

  /// The best value of a layout under any schedule.
  double value(const Layout& layout) {
    if (layout.empty()) return kNoValue;
    const auto [entry, fresh] = values_.try_emplace(layout, kNoValue);
    if (!fresh) return entry->second;
    for (const ScheduleKind schedule : options_.schedules) {
      // Of many ranks only the finalists are tried under every schedule.
      if (table_.num_ranks() > kMostBeamRanks && schedule != options_.schedules.front()) break;
      // A descent leads through plans that are not yet better than the best.
      std::optional<Trial> trial =
          scorer_.best(layout, schedule, kDetour * finalists_.best_value());
      if (!trial) continue;
      entry->second = std::min(entry->second, trial->value);
      finalists_.offer(std::move(*trial));
    }
    return entry->second;
  }

  Layout layout_of(const Groups& groups) const {
    Layout layout;
    for (const DealtKinds& group : groups) deal(group, kinds_, longest_, layout);
    return layout;
  }

  /// Grains a second of one of n pipelines that kinds are dealt to; falls as n grows.
  double rate(const std::vector<int>& group, int n) {
    Layout layout;
    deal({.kinds = group, .pipelines = n}, kinds_, longest_, layout);
    double least = kNoValue;
    for (const PipelineRanks& pipelines : write_out(layout, kinds_, table_))
      least = std::min(
          least, catalogue_.most_grains_per_second(pipelines.front(), options_.schedules.front()));
    return layout.empty() ? 0 : least;
  }

  /// The most pipelines of a group that are at least so fast; 0 when not even one is.
  int most_pipelines(const std::vector<int>& group, double speed) {
    int low = 0, high = 0;
    for (const int kind : group) high += kinds_.count(kind);
    high = static_cast<int>(std::min<int64_t>(high, grains_));
    while (low < high) {
      const int middle = low + (high - low + 1) / 2;
      const double found = rate(group, middle);
      if (found > 0 && found >= speed) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  /// Which kinds share pipelines, to begin with. Kinds that cannot hold the model alone join.
  std::vector<std::vector<std::vector<int>>> groupings() {
    std::vector<std::vector<int>> own, joined;
    std::vector<int> all, weak;
    for (int kind = 0; kind < kinds_.size(); ++kind) all.push_back(kind);
    std::stable_sort(all.begin(), all.end(), [&](int a, int b) { return memory(a) > memory(b); });
    for (const int kind : all) {
      own.push_back({kind});
      (rate({kind}, 1) > 0 ? joined.emplace_back() : weak).push_back(kind);
    }
    std::vector<std::vector<std::vector<int>>> found = {own};
    if (!weak.empty() && !joined.empty()) {
      auto apart = joined;
      apart.push_back(weak);
      found.push_back(apart);
      joined.front().insert(joined.front().end(), weak.begin(), weak.end());
      found.push_back(joined);
    }
    if (kinds_.size() > 1) found.push_back({all});
    return found;
  }

  int64_t memory(int kind) const {
    return catalogue_.runner().limit_of(kinds_.ranks[static_cast<size_t>(kind)].front());
  }

  /// From pipelines of about equal speed, at several speeds, to better numbers of pipelines.
  void start(const std::vector<std::vector<int>>& grouping) {
    double slowest = kNoValue, fastest = 0;
    for (const std::vector<int>& group : grouping) {
      const int most = most_pipelines(group, 0);
      if (most == 0) continue;
      slowest = std::min(slowest, rate(group, most));
      fastest = std::max(fastest, rate(group, 1));
    }
    if (fastest <= 0) return;
    std::vector<std::pair<double, Groups>> starts;
    for (int level = 0; level <= kLevels; ++level) {
      const double speed = slowest * std::pow(fastest / slowest, double(level) / kLevels);
      Groups groups;
      int64_t pipelines = 0;
      for (const std::vector<int>& group : grouping) {
        int n = most_pipelines(group, speed * (1 - 1e-9));
        if (n == 0 && most_pipelines(group, 0) > 0) n = 1;  // slower than the others at its best
        groups.push_back({.kinds = group, .pipelines = n});
        pipelines += n;
      }
      if (pipelines > grains_) continue;
      for (const auto leftovers : kLeftovers) {
        for (DealtKinds& group : groups) group.leftovers = leftovers;
        starts.emplace_back(value(layout_of(groups)), groups);
      }
    }
    std::stable_sort(starts.begin(), starts.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < std::min(kDescents, starts.size()); ++i) descend(starts[i].second);
  }

  void descend(Groups groups) {
    double best = value(layout_of(groups));
    for (bool better = true; better;) {
      better = false;
      for (const double factor : {0.8, 0.92, 1.08, 1.25}) {
        Groups scaled = groups;
        for (DealtKinds& group : scaled)
          group.pipelines = static_cast<int>(std::lround(factor * group.pipelines));
        const double found = value(layout_of(scaled));
        if (found >= best * (1 - 1e-6)) continue;
        best = found;
        groups = scaled;
        better = true;
      }
      for (DealtKinds& group : groups) {
        DealtKinds chosen = group;
        const int now = group.pipelines;
        const std::set<int> tries = {0,       now - now / 4, now - now / 16, now - 1, now, now + 1,
                                     now * 2, now + now / 4, now + now / 16, now / 2};
        for (const int n : tries)
          for (const auto leftovers : kLeftovers) {
            if (n < 0) continue;
            group.pipelines = n;
            group.leftovers = leftovers;
            const double found = value(layout_of(groups));
            if (found >= best * (1 - 1e-6)) continue;
            best = found;
            chosen = group;
            better = true;
          }
        group = chosen;
      }
    }
  }

  void beam() {
    std::set<Layout> expanded;
    for (int round = 0; round < kBeamRounds; ++round) {
      const double before = finalists_.best_value();
      std::vector<Layout> fresh;
      size_t taken = 0;
      for (const Trial& trial : finalists_.ranked()) {
        if (++taken > kBeam) break;
        if (!expanded.insert(trial.layout).second) continue;
        for (Layout& layout : neighbours(trial.layout, kinds_, longest_))
          if (values_.try_emplace(layout, kNoValue).second) fresh.push_back(std::move(layout));
      }
      if (fresh.empty()) return;
      try_in_order(fresh, kTriedPerRound);
      // A round that found nothing is the end once every plan of the beam has been expanded.
      if (finalists_.best_value() < before) continue;
    }
  }

  const PlanOptions& options_;
  const RankKinds& kinds_;
  PipelineCatalogue& catalogue_;
  Finalists& finalists_;
  LayoutScorer scorer_;
  const RankTable& table_;
  const int longest_;
  const int64_t grains_;
  std::map<Layout, double> values_;
};

}  // namespace

void Finalists::offer(Trial trial) {
  const auto key = std::pair(trial.layout, trial.schedule);
  const auto [entry, fresh] = trials_.try_emplace(key, trial);
  if (!fresh && trial.value < entry->second.value) entry->second = std::move(trial);
  if (trials_.size() <= 64 * keep_) return;
  // Far more than will ever be asked for: drop the worst half.
  std::vector<double> values;
  for (const auto& [layout, kept] : trials_) values.push_back(kept.value);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  std::erase_if(trials_, [limit = *middle](const auto& one) { return one.second.value > limit; });
}

std::vector<std::pair<double, const Trial*>> Finalists::best_of_layouts() const {
  // Keys of one layout stand together.
  std::vector<std::pair<double, const Trial*>> best;
  for (const auto& [key, trial] : trials_) {
    if (!best.empty() && best.back().second->layout == key.first) {
      if (trial.value < best.back().first) best.back() = {trial.value, &trial};
    } else {
      best.emplace_back(trial.value, &trial);
    }
  }
  std::stable_sort(best.begin(), best.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return best;
}

double Finalists::to_beat() const {
  const auto best = best_of_layouts();
  return best.size() < keep_ ? kNoValue : best[keep_ - 1].first;
}

double Finalists::best_value() const {
  double best = kNoValue;
  for (const auto& [key, trial] : trials_) best = std::min(best, trial.value);
  return best;
}

std::vector<Trial> Finalists::ranked() const {
  std::vector<Trial> ranked;
  for (const auto& [value, trial] : best_of_layouts())
    if (ranked.size() < keep_) ranked.push_back(*trial);
  std::vector<const Trial*> others;
  for (const auto& entry : trials_) {
    const Trial& trial = entry.second;
    if (std::none_of(ranked.begin(), ranked.end(), [&](const Trial& known) {
          return known.layout == trial.layout && known.schedule == trial.schedule;
        }))
      others.push_back(&trial);
  }
  std::stable_sort(others.begin(), others.end(),
                   [](const Trial* a, const Trial* b) { return a->value < b->value; });
  for (const Trial* trial : others)
    if (ranked.size() < keep_) ranked.push_back(*trial);
  return ranked;
}

void search_layouts(const CostModel& model, const PlanOptions& options, const RankKinds& kinds,
                    PipelineCatalogue& catalogue, Finalists& finalists) {
  Search(model, options, kinds, catalogue, finalists).run();
}

}  // namespace kente
