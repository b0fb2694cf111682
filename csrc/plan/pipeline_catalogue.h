#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "csrc/plan/pipeline_run.h"

namespace kente {

/// One way to run a pipeline's share.
struct PipelineOption {
  std::vector<int> blocks;
  int64_t grains_per_micro_batch = 1;
  PipelineRun run;
};

/// How hard a catalogue looks. kQuick: seconds() is a formula, options() runs the one way it likes
/// best: for clusters whose finalists are looked at again thoroughly.
enum class Effort { kQuick, kThorough };

/// What pipelines can do, each computed once: for devices in an order, a share and a schedule the
/// best splits and micro-batch sizes. Pipelines of alike devices over alike links share entries.
class PipelineCatalogue {
 public:
  /// model must outlive it.
  PipelineCatalogue(const CostModel& model, double memory_use, Effort effort);

  /// Ways that fit into memory, fastest first: all of them while there are few, else the best that
  /// the dynamic program names, improved by moving single blocks. Empty when none fits.
  const std::vector<PipelineOption>& options(const std::vector<int>& ranks, int64_t share,
                                             ScheduleKind schedule);
  /// The best way cut where another pipeline is (see split_blocks); null when none fits.
  const PipelineOption* aligned(const std::vector<int>& ranks, int64_t share, ScheduleKind schedule,
                                const std::vector<int>& borders);
  /// The same cut and micro-batches under another schedule; null when that does not fit.
  const PipelineOption* rescheduled(const PipelineOption& option, const std::vector<int>& ranks,
                                    int64_t share, ScheduleKind schedule);
  Effort effort() const { return effort_; }
  /// Seconds of the fastest way, infinite when none fits.
  double seconds(const std::vector<int>& ranks, int64_t share, ScheduleKind schedule);
  /// No split of no share runs more grains a second: what the dearest stage allows.
  double most_grains_per_second(const std::vector<int>& ranks, ScheduleKind schedule);
  /// Whether some split holds as many micro-batches as 1F1B ever keeps.
  bool fits_full(const std::vector<int>& ranks, ScheduleKind schedule);
  /// The way that lacks least memory; for telling what is missing.
  PipelineOption nearest(const std::vector<int>& ranks, int64_t share, ScheduleKind schedule);
  /// Sizes of micro-batches worth trying for a share, ascending: what was measured, and evened out.
  std::vector<int64_t> micro_batch_sizes(const std::vector<int>& ranks, int64_t share) const;

  PipelineRunner& runner() { return runner_; }

 private:
  using Key = std::vector<int64_t>;
  /// A pipeline's steady state with micro-batches of one size: what all stages need for one, and
  /// the dearest, which sets the pace.
  struct Pace {
    int64_t grains = 1;
    double sum = 0, dearest = 0;

    double seconds(int64_t share) const;
  };

  Key key_of(const std::vector<int>& ranks, ScheduleKind schedule) const;
  const std::vector<Pace>& paces(const std::vector<int>& ranks, ScheduleKind schedule);
  /// Sizes of micro-batches; quick: the most promising first, and the first that fits is taken.
  std::vector<int64_t> sizes_to_try(const std::vector<int>& ranks, int64_t share,
                                    ScheduleKind schedule);
  void add(std::vector<PipelineOption>& found, const PipelineSpec& spec, ScheduleKind schedule);
  void add_all_splits(std::vector<PipelineOption>& found, PipelineSpec spec, ScheduleKind schedule);
  void add_good_splits(std::vector<PipelineOption>& found, PipelineSpec spec,
                       ScheduleKind schedule);
  void improve(std::vector<PipelineOption>& found, PipelineSpec spec, ScheduleKind schedule);

  const CostModel& model_;
  PipelineRunner runner_;
  const Effort effort_;
  int blocks_ = 0;
  std::map<Key, std::vector<PipelineOption>> options_;
  std::map<Key, std::vector<PipelineOption>> aligned_;
  std::map<Key, std::vector<PipelineOption>> rescheduled_;
  std::map<Key, std::vector<Pace>> paces_;
};

}  // namespace kente
