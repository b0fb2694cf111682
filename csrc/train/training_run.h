#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "csrc/data/loader.h"
#include "csrc/nn/ops/timed_ops.h"
#include "csrc/train/op_times.h"
#include "csrc/train/pacer.h"
#include "csrc/train/plan_watch.h"
#include "csrc/train/rebalance.h"
#include "csrc/train/recovery.h"
#include "csrc/train/run_directory.h"
#include "csrc/train/safeguards.h"
#include "csrc/train/state_keeper.h"
#include "csrc/train/trainer.h"
#include "csrc/train/validation.h"

namespace kente {

/// A run from its first to its last step, or to a change of plan. Members are made in the order in
/// which they depend on each other; every rank makes them in that order, because several
/// constructors are collectives.
class TrainingRun {
 public:
  /// rebalance: rank 0's, if plans may change; else null.
  TrainingRun(const TrainOptions& options, Communicator& world, FileSystem& files, Log& log,
              Rebalance* rebalance);
  /// Empty when the state is handed over to a run with the plan that rank 0 wants.
  std::optional<TrainResult> run();
  /// Records an event; tell() shows it to people too.
  void event(const std::string& kind, int64_t step, const std::string& detail);
  void tell(const std::string& kind, int64_t step, const std::string& detail);
  int64_t resumed_from() const { return first_step_ - 1; }

 private:
  void open_data();
  void start_or_resume();
  double find_ceiling(const Environment& now);
  void open_loader(int64_t step);
  bool is_stored(int64_t step) const;
  int64_t go_back(int64_t from, const Safeguards::Decision& decision);
  [[noreturn]] void give_up(int64_t step, const std::string& why);
  RankSays says(int64_t step);
  void record(const StepReport& report, const std::optional<WatchedSteps>& watched);
  void tell_drift(int64_t step, const WatchedSteps& watched);
  void validate(int64_t step);
  void checkpoint(int64_t step, bool last);
  Moment moment(int64_t step) const;
  void draw_timeline(const std::function<void()>& step);
  Roof roof_of(int rank) const;
  TrainResult finish(int64_t step, bool stopped);
  bool hand_over(int64_t step);
  bool leads() const { return world_.rank() == 0; }
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const TrainOptions& options_;
  Rebalance* const rebalance_;
  const Recipe& recipe_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  ProgressBoard own_board_;
  ProgressBoard& board_;
  const Mesh mesh_;
  RunDirectory directory_;
  std::optional<TimedOps> timed_ops_;  // where operations are the host's
  Parameters parameters_;
  AdamW optimizer_;
  HostState state_;
  Step step_;
  std::optional<Pacer> pacer_;
  Recovery recovery_;
  StateKeeper keeper_;
  Safeguards safeguards_;
  RunIdentity identity_;
  std::unique_ptr<TrainingData> data_;  // null on ranks that read no data
  std::optional<Validation> validation_;
  std::optional<Loader> loader_;
  std::optional<PlanWatch> watch_;  // only with a cluster profile
  Progress progress_;
  double ceiling_flops_ = 0;  // measured, all ranks together
  int64_t first_step_ = 1;
  float last_loss_ = 0;
  double last_bits_per_byte_ = 0;
};

}  // namespace kente
