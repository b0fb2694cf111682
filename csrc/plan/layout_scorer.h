#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "csrc/plan/layout.h"
#include "csrc/plan/pipeline_catalogue.h"
#include "csrc/plan/planner.h"
#include "csrc/plan/step_score.h"

namespace kente {

/// Pipelines that are alike and run the same share in the same way.
struct TrialMember {
  PipelineRanks pipelines;
  int64_t share = 0;
  const PipelineOption* option = nullptr;  // the catalogue's
};

/// The value of a trial that cannot run, and of one not looked at.
constexpr double kNoValue = std::numeric_limits<double>::infinity();

/// A whole plan under consideration.
struct Trial {
  Layout layout;
  ScheduleKind schedule = ScheduleKind::k1F1B;
  std::vector<TrialMember> members;
  double seconds = 0;
  double value = 0;  // the objective
};

Plan plan_of(const Trial& trial, const CostModel& model);

/// Finds shares and ways to run them for given layouts.
class LayoutScorer {
 public:
  /// All must outlive it.
  LayoutScorer(const CostModel& model, const RankKinds& kinds, PipelineCatalogue& catalogue,
               Objective objective);

  /// No plan of this layout is better.
  double bound(const Layout& layout, ScheduleKind schedule);
  /// The best plan of this layout; empty when none fits or none is better than to_beat. Few
  /// pipelines and grains: every share and every way; else grain by grain to who is done first.
  std::optional<Trial> best(const Layout& layout, ScheduleKind schedule, double to_beat);
  /// The same pipelines, cut and shares under another schedule; empty when that does not fit.
  std::optional<Trial> rescheduled(Trial trial, ScheduleKind schedule);

 private:
  class Exhaustive;

  std::optional<Trial> fill(const Layout& layout, ScheduleKind schedule, double to_beat);
  std::vector<TrialMember> fill_shares(const std::vector<PipelineRanks>& groups,
                                       ScheduleKind schedule);
  std::vector<int64_t> first_shares(const std::vector<PipelineRanks>& groups,
                                    ScheduleKind schedule);
  /// Gives each member its fastest way, or ways cut at common borders where that is faster
  /// together; false when a member has none.
  bool choose_ways(Trial& trial);
  /// The members cut where the one of that index is, others as they are where that does not fit.
  void align(Trial& trial, size_t reference);
  void improve_ways(Trial& trial);
  void improve_shares(Trial& trial);
  /// Gives a member another share, run in its fastest way; false when none fits.
  bool set_share(Trial& trial, size_t member, int64_t share);
  void score(Trial& trial) const;
  double value_of(const StepScore& score) const;
  double value_at_least(double seconds, const std::vector<PipelineRanks>& groups) const;

  const CostModel& model_;
  const RankKinds& kinds_;
  PipelineCatalogue& catalogue_;
  const Objective objective_;
};

}  // namespace kente
