#include "csrc/train/training_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "csrc/config/parse.h"
#include "csrc/plan/shards.h"
#include "csrc/train/environment.h"
#include "csrc/train/gather.h"
#include "csrc/train/parameters_digest.h"
#include "csrc/train/step_record.h"
#include "csrc/train/timeline.h"

namespace kente {
namespace {

std::optional<TimedOps> timed_on_host(Ops& ops) {
  std::optional<TimedOps> made;
  if (ops.on_host()) made.emplace(ops);
  return made;
}

}  // namespace

TrainingRun::TrainingRun(const TrainOptions& options, Communicator& world, FileSystem& files,
                         Log& log, Rebalance* rebalance)
    : options_(options),
      rebalance_(rebalance),
      recipe_(options.recipe),
      world_(world),
      files_(files),
      log_(log),
      board_(options.board ? *options.board : own_board_),
      mesh_(make_mesh(options.recipe, options.plan, world.size())),
      directory_(files, options.run_directory),
      timed_ops_(timed_on_host(*options.ops)),
      parameters_(recipe_.model, mesh_.layers_of(world.rank()),
                  compute_dtype(options.plan, mesh_, world.rank()),
                  timed_ops_ ? *timed_ops_ : *options.ops),
      optimizer_(recipe_.optimizer, parameters_,
                 optimizer_shards_of(world.rank(), mesh_, model_layout(recipe_.model))),
      state_(parameters_, &optimizer_),
      step_(recipe_, options.plan, mesh_, world, parameters_, optimizer_, options.timeout_seconds,
            options.tensors),
      recovery_(mesh_, world, files, log,
                {.run_directory = options.run_directory,
                 .copies = options.checkpoint_to,
                 .snapshots = options.snapshots},
                options.timeout_seconds),
      keeper_({.snapshots = options.snapshots,
               .snapshot_every = options.snapshot_every,
               .copy_every = options.snapshot_copy_every,
               .background = options.background_checkpoints,
               .prepare = options.background_checkpoints && options.checkpoint_every > 0,
               .timeout_seconds = options.timeout_seconds},
              recovery_, state_, world, files, log, board_,
              [this](const std::string& kind, int64_t step, const std::string& detail) {
                kind == Saver::kStored ? event(kind, step, detail) : tell(kind, step, detail);
              }),
      safeguards_(recipe_, mesh_, world, state_,
                  {.check_replicas_every = options.check_replicas_every,
                   .timeout_seconds = options.timeout_seconds}),
      progress_(stdout, leads() ? options.progress : Progress::Output::kQuiet, recipe_.steps) {
  identity_.recipe_sha256 = recipe_sha256(recipe_);
  step_.runner().set_board(&board_);
  open_data();
  start_or_resume();
  if (!options.imitation) return;
  pacer_.emplace(Pacer::Options{.device = options.imitation->rank(world.rank()),
                                .seed = options.imitation->seed,
                                .rank = world.rank(),
                                .grain_samples = recipe_.grain_samples,
                                .steps = first_step_ - 1,
                                .progress = [&world] { world.progress(); }});
  step_.runner().set_pacer(&*pacer_);
}

void TrainingRun::open_data() {
  const bool reads = mesh_.reads_data(world_.rank());
  together(
      world_,
      [&] {
        if (reads) data_ = std::make_unique<TrainingData>(recipe_, options_.data_directory);
      },
      deadline());
  validation_.emplace(recipe_, mesh_, world_, options_.data_directory, options_.timeout_seconds);
}

void TrainingRun::start_or_resume() {
  std::optional<Recovery::Restored> restored;
  if (options_.start == StartMode::kResume)
    restored = recovery_.restore(identity_.recipe_sha256, state_);
  if (restored) {
    first_step_ = restored->moment.step + 1;
    identity_.run_id = restored->run_id;
    // Checkpoints older than the guards have no state of theirs.
    safeguards_.resume(restored->moment.state["guard"]);
    step_.gradient_scales().resume(restored->moment.state["gradient_scales"]);
  } else {
    identity_.run_id = shared_token(world_, deadline());
    parameters_.init(recipe_.seed);
  }
  open_loader(first_step_);
  Environment environment =
      describe_environment(recipe_, mesh_, options_, world_, data_.get(), deadline());
  ceiling_flops_ = environment.gemm_flops_per_second = find_ceiling(environment);
  if (options_.cluster)
    watch_.emplace(recipe_, options_.plan, *options_.cluster, world_, options_.timeout_seconds);
  if (leads()) {
    directory_.write_inputs(recipe_, options_.plan);
    if (options_.cluster) directory_.write_cluster(*options_.cluster);
    directory_.write_environment(environment);
    directory_.keep_tokenizer(options_.data_directory);
  }
  event(restored ? "resume" : "start", first_step_ - 1,
        fmt::format("run {} on {} ranks, {} replicas{}", identity_.run_id, world_.size(),
                    mesh_.replicas.size(), restored ? ", from " + restored->from : ""));
  keeper_.start(first_step_ - 1);
}

/// A start that goes on where and how another one was has that one's ceiling. A collective.
double TrainingRun::find_ceiling(const Environment& now) {
  double known = 0;
  if (leads()) {
    Environment before = directory_.environment().value_or(Environment{});
    known = std::exchange(before.gemm_flops_per_second, 0);
    if (to_json(before) != to_json(now)) known = 0;
  }
  world_.all_reduce({.data = &known, .count = 1, .dtype = DType::kF64}, ReduceOp::kSum)
      ->wait(deadline());
  if (known > 0) return known;
  return measure_ceiling(world_, *options_.ops, compute_dtype(options_.plan, mesh_, world_.rank()),
                         options_.ceiling_seconds, deadline());
}

/// The next data is that of this step.
void TrainingRun::open_loader(int64_t step) {
  if (!data_) return;
  std::vector<Loader::Slice> slices;
  const auto replica = static_cast<size_t>(mesh_.replica_of(world_.rank()));
  for (const MeshMicroBatch& m : mesh_.replicas[replica].micro_batches)
    slices.push_back({.first_grain = m.first_grain, .grains = m.grains});
  loader_.emplace(*data_, recipe_, std::move(slices), safeguards_.data_step(step) - 1,
                  safeguards_.data_step(recipe_.steps));
}

bool TrainingRun::is_stored(int64_t step) const {
  const int64_t every = options_.checkpoint_every;
  return step == recipe_.steps || (every > 0 && step % every == 0) ||
         safeguards_.wants_stored(step);
}

/// Takes training back to a stored step, or to the start, and returns it.
int64_t TrainingRun::go_back(int64_t from, const Safeguards::Decision& decision) {
  keeper_.finish();
  auto restored = recovery_.restore(identity_.recipe_sha256, state_, *decision.go_back);
  const int64_t to = restored ? restored->moment.step : 0;
  step_.gradient_scales().resume(restored ? restored->moment.state["gradient_scales"] : "");
  if (!restored) {
    parameters_.init(recipe_.seed);
    optimizer_.reset();
  }
  safeguards_.went_back(from, to, decision.leave_out_data);
  open_loader(to + 1);
  keeper_.went_back(manifest_of(moment(to), identity_));
  event("went back", from,
        fmt::format("to step {}, {}", to,
                    decision.leave_out_data ? fmt::format("going on with the data of step {}",
                                                          safeguards_.data_step(to + 1))
                                            : "over the same data"));
  return to;
}

void TrainingRun::give_up(int64_t step, const std::string& why) {
  keeper_.finish();
  if (leads()) progress_.note("report: " + directory_.write_report());
  throw UsageError(options_.run_directory + ": step " + std::to_string(step) + ": " + why);
}

RankSays TrainingRun::says(int64_t step) {
  RankSays says = keeper_.says(step);
  says.stop = options_.want_stop && options_.want_stop();
  says.replan = rebalance_ && rebalance_->wanted();
  return says;
}

std::optional<TrainResult> TrainingRun::run() {
  bool stopped = false;
  int64_t step = first_step_ - 1;
  // The step whose timeline is drawn: late enough that everything is warm.
  const int64_t drawn = std::min(recipe_.steps, first_step_ + 9);
  while (step < recipe_.steps && !stopped) {
    board_.set_step(step);
    board_.set(Phase::kData);
    ++step;
    std::vector<MicroBatch> batches;
    if (loader_) batches = loader_->next();
    StepReport report;
    const auto run_step = [&] {
      report = step_.run(step, std::move(batches), [&] { return says(step); });
    };
    if (step == drawn) {
      draw_timeline(run_step);
    } else {
      run_step();
    }
    stopped = report.any.stop && step < recipe_.steps;
    std::optional<WatchedSteps> watched;
    if (watch_) watched = watch_->step(report.seconds, step_.runner().clock());
    record(report, watched);
    if (report.repeats > 0)
      tell("gradient-scale", step,
           fmt::format("gradients in f16 overflowed: run {} times again, each with half the scale",
                       report.repeats));
    if (options_.touch_weights) options_.touch_weights(step, parameters_);
    if (options_.after_step) options_.after_step(report);
    const bool save = stopped || is_stored(step);
    const Safeguards::Decision decision = safeguards_.judge(report, save);
    for (const Safeguards::Event& event : decision.events) tell(event.kind, step, event.detail);
    if (!decision.stop.empty()) give_up(step, decision.stop);
    if (decision.go_back) {
      step = go_back(step, decision);
      stopped = false;
      continue;
    }
    keeper_.after_step(report, [&] { return manifest_of(moment(step), identity_); });
    const bool last = step == recipe_.steps;
    if (!validation_->empty() && (last || step % recipe_.validation.every_steps == 0))
      validate(step);
    if (save) checkpoint(step, last || stopped);
    if (report.any.replan && !last && !stopped && hand_over(step)) return std::nullopt;
  }
  return finish(step, stopped);
}

void TrainingRun::record(const StepReport& report, const std::optional<WatchedSteps>& watched) {
  last_loss_ = report.loss;
  if (!leads()) return;
  StepRecord line = step_record(recipe_, options_.plan, report, ceiling_flops_,
                                safeguards_.data_step(report.step));
  line.epoch = data_ ? data_->epochs(line.last_sample + 1) : 0;
  if (watched) line.ranks = watched->ranks;
  directory_.step(line);
  progress_.step(line, keeper_.newest_checkpoint());
  if (watched) tell_drift(report.step, *watched);
}

/// The corrected profile lies beside the one the plan was made from: a resumed run plans with it.
void TrainingRun::tell_drift(int64_t step, const WatchedSteps& watched) {
  directory_.write_measured_cluster(watched.corrected);
  if (rebalance_)
    if (const std::optional<std::string> verdict =
            rebalance_->stretch(options_.plan, {.seconds = watched.seconds,
                                                .off = watched.off,
                                                .corrected = watched.corrected,
                                                .settled = watched.settled,
                                                .steps_left = recipe_.steps - step}))
      tell("rebalanced", step, *verdict);
  if (!watched.drift) return;
  tell("drift", step,
       watched.drift->message + (rebalance_ ? "; a better plan is looked for"
                                            : "; kente train --resume --replan plans with what was "
                                              "measured"));
}

void TrainingRun::validate(int64_t step) {
  board_.set(Phase::kValidate);
  const ValidationRecord record = validation_->run(step, step_);
  last_bits_per_byte_ = record.bits_per_byte;
  if (!leads()) return;
  directory_.event(event_json(record));
  progress_.note(fmt::format("step {}  validation loss {:.4f}  {:.4f} bits per byte", step,
                             record.loss, record.bits_per_byte));
}

Moment TrainingRun::moment(int64_t step) const {
  Moment moment = {.step = step,
                   .samples = safeguards_.data_step(step) * recipe_.samples_per_step(),
                   .state = {{"guard", safeguards_.state()}}};
  if (step_.gradient_scales().any())
    moment.state["gradient_scales"] = step_.gradient_scales().state();
  return moment;
}

void TrainingRun::checkpoint(int64_t step, bool last) {
  board_.set_step(step);
  // What the guards may go back to is never left out.
  keeper_.checkpoint(manifest_of(moment(step), identity_),
                     {.newest = options_.keep_checkpoints, .also = safeguards_.keep(step)},
                     !last && !safeguards_.wants_stored(step), last);
}

/// False where the state could be kept nowhere: then the plan stays.
bool TrainingRun::hand_over(int64_t step) {
  const bool kept =
      keeper_.hand_over(manifest_of(moment(step), identity_),
                        {.newest = options_.keep_checkpoints, .also = safeguards_.keep(step)});
  board_.set(Phase::kStart);  // what follows takes as long as a start
  if (kept) return true;
  tell("not rebalanced", step, "the state could be stored nowhere");
  if (rebalance_) rebalance_->drop();
  return false;
}

void TrainingRun::draw_timeline(const std::function<void()>& step) {
  if (timed_ops_) timed_ops_->take();
  const auto spans = timeline_of(step, step_.runner(), world_, deadline());
  OpProfile mine;
  mine.rank = world_.rank();
  if (timed_ops_)
    mine = op_profile(world_.rank(), timed_ops_->take(), spans, roof_of(world_.rank()));
  const std::vector<OpProfile> all = gather_profiles(mine, world_, deadline());
  if (!leads()) return;
  directory_.write_timeline(spans);
  directory_.write_ops(all);
}

/// From the profile that the plan was made from, or else as the run itself measured.
Roof TrainingRun::roof_of(int rank) const {
  Roof roof = {.flops_per_second = ceiling_flops_ / world_.size(), .bytes_per_second = 0};
  if (options_.cluster) {
    const DeviceProfile& device = options_.cluster->devices.at(static_cast<size_t>(rank));
    roof.bytes_per_second = device.copy_bytes_per_second;
    const DType compute = compute_dtype(options_.plan, mesh_, rank);
    for (const GemmCeiling& measured : device.ceilings)
      if (measured.compute == compute) roof.flops_per_second = measured.flops_per_second;
  }
  if (roof.bytes_per_second <= 0 && options_.ceiling_seconds > 0)
    roof.bytes_per_second = copy_bytes_per_second(options_.ceiling_seconds / 4);
  return roof;
}

TrainResult TrainingRun::finish(int64_t step, bool stopped) {
  board_.set_step(step);
  board_.set(Phase::kEnd);
  TrainResult result;
  result.step = step;
  result.resumed_from = first_step_ - 1;
  result.loss = last_loss_;
  result.stopped = stopped;
  result.parameters_sha256 = parameters_digest(world_, mesh_, state_, deadline());
  keeper_.end(step);
  event(stopped ? "stopped" : "finished", step, "parameters_sha256 " + result.parameters_sha256);
  if (leads()) progress_.note("report: " + directory_.write_report());
  return result;
}

void TrainingRun::event(const std::string& kind, int64_t step, const std::string& detail) {
  log_.info(kind + " at step " + std::to_string(step) + ": " + detail);
  if (leads()) directory_.event(event_json(kind, step, detail));
}

void TrainingRun::tell(const std::string& kind, int64_t step, const std::string& detail) {
  event(kind, step, detail);
  if (leads()) progress_.note(fmt::format("step {}  {}: {}", step, kind, detail));
}

}  // namespace kente
