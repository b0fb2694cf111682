#pragma once

#include <map>
#include <utility>
#include <vector>

#include "csrc/plan/layout_scorer.h"

namespace kente {

/// The best plans seen, the best one of each (layout, schedule).
class Finalists {
 public:
  /// keep: layouts worth knowing, the winner's among them.
  explicit Finalists(int keep) : keep_(static_cast<size_t>(keep)) {}

  void offer(Trial trial);
  /// A value that is not below this changes nothing. Infinite until enough layouts are known.
  double to_beat() const;
  double best_value() const;
  bool empty() const { return trials_.empty(); }
  /// Best first: one of each layout, then other schedules of the same, at most keep.
  std::vector<Trial> ranked() const;

 private:
  std::vector<std::pair<double, const Trial*>> best_of_layouts() const;

  size_t keep_;
  std::map<std::pair<Layout, ScheduleKind>, Trial> trials_;
};

/// Searches layouts: all of them where they are few, in the order of their bounds, until no bound
/// is below what is known; else from kinds dealt out to pipelines, the numbers of pipelines
/// improved one kind at a time, and then, up to a few dozen ranks, by a beam search over moves of
/// single ranks.
void search_layouts(const CostModel& model, const PlanOptions& options, const RankKinds& kinds,
                    PipelineCatalogue& catalogue, Finalists& finalists);

/// All layouts that one move makes of a layout: swap, move, drop, add, split, merge.
std::vector<Layout> neighbours(const Layout& layout, const RankKinds& kinds, int longest);

}  // namespace kente
