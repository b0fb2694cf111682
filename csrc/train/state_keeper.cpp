#include "csrc/train/state_keeper.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "comm/communicator.h"

namespace kente {

StateKeeper::StateKeeper(const Options& options, Recovery& recovery, HostState& state,
                         Communicator& world, FileSystem& files, Log& log, ProgressBoard& board,
                         Tell tell)
    : options_(options),
      recovery_(recovery),
      state_(state),
      own_(recovery.own_tensors(state)),
      world_(world),
      board_(board),
      tell_(std::move(tell)),
      snapshots_({.directory = options.snapshots,
                  .start = recovery.start(),
                  .rank = world.rank(),
                  .every = options.snapshots.empty() ? 0 : options.snapshot_every},
                 files, log),
      copies_({.directory = options.snapshots,
               .start = recovery.start(),
               .every = snapshots_.on() ? options.copy_every : 0,
               .timeout_seconds = options.timeout_seconds},
              recovery.memory().domains, own_, snapshots_, world, files, log),
      saver_(recovery.checkpoints(), world, files, log, options.timeout_seconds) {}

void StateKeeper::start(int64_t newest_checkpoint) {
  newest_checkpoint_ = newest_checkpoint;
  recovery_.forget_old_snapshots();
  for (const std::string& why : recovery_.left_out()) tell_("no copies", newest_checkpoint, why);
}

RankSays StateKeeper::says(int64_t step) {
  state_.go_on();
  return {.snapshot_busy = snapshots_.due(step) && snapshots_.busy(),
          .snapshots_cost = snapshots_.cost_too_much(),
          .snapshots_failed = snapshots_.failed(),
          .saving = saver_.active() && saver_.working(),
          .copying = copies_.active() && copies_.working()};
}

void StateKeeper::after_step(const StepReport& report,
                             const std::function<CheckpointManifest()>& now) {
  // Not before: what a step needs comes first.
  if (options_.prepare && !std::exchange(prepared_, true)) saver_.prepare(own_);
  if (saver_.active() && !report.any.saving) tell(saver_.advance());
  if (copies_.active() && !report.any.copying) {
    copies_.advance();
    if (copies_.failed()) tell_("no copies", report.step, "a rank has no memory for them");
  }
  if (snapshots_.on()) snapshot(report, now);
}

void StateKeeper::take(CheckpointManifest now, double step_seconds) {
  snapshots_.take(std::move(now), own_, step_seconds, state_);
}

/// Every rank takes the same steps, or there is no whole one.
void StateKeeper::snapshot(const StepReport& report,
                           const std::function<CheckpointManifest()>& now) {
  if (report.any.snapshots_failed) {
    copies_.finish();
    copies_.clear();
    snapshots_.clear();
    tell_("no snapshots", report.step, "a rank has no memory for them, see the logs");
    return;
  }
  if (report.any.snapshots_cost) {
    snapshots_.take_fewer();
    tell_("fewer snapshots", report.step,
          fmt::format("one every {} steps: they took more than 2 % of a step", snapshots_.every()));
  }
  if (!snapshots_.due(report.step) || report.any.snapshot_busy) return;
  board_.set(Phase::kSnapshot);
  // All have one that is whole by now: what the state came from is no longer needed.
  if (snapshots_.taken() > 0) recovery_.forget_restored_snapshots();
  take(now(), report.seconds);
  if (copies_.due(report.step)) copies_.begin(report.step);
}

void StateKeeper::checkpoint(CheckpointManifest now, const Retention& retention, bool may_leave_out,
                             bool last) {
  if (saver_.active() && may_leave_out) {
    tell_("checkpoint left out", now.step, "the last one is still on its way to the disk");
    return;
  }
  board_.set(Phase::kSave);
  tell(saver_.finish());
  if (last || !options_.background) {
    state_.read();
    saver_.begin(std::move(now), own_, Saver::Source::kBorrowed, retention);
    tell(saver_.finish());
  } else if (snapshots_.newest() == now.step) {
    saver_.begin(std::move(now), snapshots_.hold(), Saver::Source::kReleased, retention,
                 [this] { snapshots_.release(); });
  } else {
    state_.read();
    saver_.begin(std::move(now), own_, Saver::Source::kCopied, retention);
  }
}

void StateKeeper::finish() {
  tell(saver_.finish());
  copies_.finish();
}

void StateKeeper::went_back(CheckpointManifest now) {
  newest_checkpoint_ = now.step;
  recovery_.forget_after(now.step);
  copies_.forget_after(now.step - 1);
  snapshots_.forget_after(now.step);
  if (!snapshots_.on()) return;
  // What is stored of this step does not know yet that training went back to it, and why.
  take(std::move(now), std::numeric_limits<double>::infinity());
  snapshots_.wait();
  world_.barrier(Deadline::after_seconds(options_.timeout_seconds));
  snapshots_.forget_twins();
}

bool StateKeeper::hand_over(CheckpointManifest now, const Retention& retention) {
  finish();
  const int64_t step = now.step;
  if (snapshots_.on()) {
    snapshots_.wait();
    if (snapshots_.newest() != step && !snapshots_.busy())
      take(now, std::numeric_limits<double>::infinity());
    snapshots_.wait();
    int64_t kept = snapshots_.sealed(step) != nullptr;
    world_.all_reduce({.data = &kept, .count = 1, .dtype = DType::kI64}, ReduceOp::kMin)
        ->wait(Deadline::after_seconds(options_.timeout_seconds));
    if (kept) return true;
  }
  checkpoint(std::move(now), retention, false, true);
  return newest_checkpoint_ == step;
}

/// The last step is stored, or storage failed: then memory is the only place that has it.
void StateKeeper::end(int64_t step) {
  copies_.finish();
  if (newest_checkpoint_ != step) return;
  copies_.clear();
  snapshots_.clear();
}

void StateKeeper::tell(const std::vector<Saver::News>& news) {
  for (const Saver::News& told : news) {
    tell_(told.event, told.step, told.detail);
    if (told.event == Saver::kStored) newest_checkpoint_ = told.step;
  }
}

}  // namespace kente
