#include "csrc/measure/layers.h"

#include <time.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "comm/local.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/rng.h"
#include "csrc/measure/agree.h"
#include "csrc/measure/statistics.h"
#include "csrc/nn/chunk.h"
#include "csrc/plan/memory.h"
#include "csrc/train/bucket_comms.h"
#include "csrc/train/gather.h"
#include "csrc/train/grad_reducer.h"
#include "csrc/train/optimizer.h"
#include "csrc/train/pacer.h"
#include "csrc/train/pipe_runner.h"

namespace kente {
namespace {

constexpr double kRoundSeconds = 0.08;  // several periods of a CPU quota
constexpr double kLongSeconds = 1;
constexpr double kGoodEnough = 0.015;  // interquartile range / median / sqrt(rounds)
constexpr double kOptimizerSeconds = 0.5;
// Under a CPU quota a round has one stop more or less, whatever its length: only their mean is what
// a rank loses in the long run, and a median may be 15 % beside it.
constexpr double kOutliers = 0.1;
constexpr size_t kKinds = 3, kPasses = 4;

double really_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-9; }

Plan alone(const Recipe& recipe, int64_t grains) {
  Plan plan = even_plan(recipe, 1, 1);
  plan.replicas[0].grains_per_micro_batch = grains;
  return plan;
}

int64_t peak_bytes(const Recipe& recipe, int64_t grains) {
  const Plan plan = alone(recipe, grains);
  return predict_memory(recipe, plan, make_mesh(recipe, plan, 1)).front().total();
}

/// The recipe with as many blocks as fit, at most so many.
Recipe with_blocks_that_fit(const LayerBenchOptions& options) {
  Recipe recipe = options.recipe;
  recipe.model.num_hidden_layers =
      std::min<int64_t>(recipe.model.num_hidden_layers, options.most_blocks);
  while (recipe.model.num_hidden_layers > 1 && peak_bytes(recipe, 1) > options.memory_bytes)
    --recipe.model.num_hidden_layers;
  if (const int64_t need = peak_bytes(recipe, 1); need > options.memory_bytes)
    throw UsageError("one block with embedding and head needs " + std::to_string(need >> 20) +
                     " MiB to be measured, this rank has " +
                     std::to_string(options.memory_bytes >> 20) +
                     " MiB free; start fewer ranks on the node or free memory");
  return recipe;
}

/// Sizes to measure, ascending, that memory allows here.
std::vector<int64_t> sizes_that_fit(const LayerBenchOptions& options, const Recipe& recipe) {
  std::vector<int64_t> sizes = {1};
  if (recipe.numerics.reduction == Reduction::kExact) return sizes;
  const int64_t grain_tokens = recipe.grain_samples * recipe.sequence_length;
  for (int64_t grains = 2; grains <= recipe.grains_per_step(); grains *= 2) {
    if (grains * grain_tokens > options.most_tokens) break;
    if (peak_bytes(recipe, grains) > options.memory_bytes) break;
    sizes.push_back(grains);
  }
  return sizes;
}

MicroBatch made_up_batch(const Recipe& recipe, int64_t grains) {
  MicroBatch batch = MicroBatch::zeros(grains * recipe.grain_samples, recipe.sequence_length);
  const int64_t rows = batch.samples * batch.length;
  for (int64_t i = 0; i < rows; ++i) {
    const auto at = static_cast<uint64_t>(i);
    for (const auto field : {MicroBatch::kTokens, MicroBatch::kTargets})
      batch.plane(field)[i] = static_cast<int32_t>(random_bits(1, RngUse::kTest, field, at) %
                                                   static_cast<uint64_t>(recipe.model.vocab_size));
    batch.plane(MicroBatch::kLossMask)[i] = 1;
    batch.plane(MicroBatch::kPositions)[i] = static_cast<int32_t>(i % batch.length);
  }
  return batch;
}

using PassSeconds = std::array<std::array<double, kPasses>, kKinds>;

double total_of(const PassSeconds& seconds) {
  double total = 0;
  for (const auto& passes : seconds) total = std::accumulate(passes.begin(), passes.end(), total);
  return total;
}

/// Work is what a pass needs on a core, in CPU time: a rank that is stopped now and then (a CPU
/// quota, more ranks than cores, another program) would show it in whatever pass was hit. What it
/// loses to that is one factor for all its layers.
struct Round {
  PassSeconds work{};   // of a run, mean
  double slowdown = 1;  // time that passed over work
};

/// The rounds of one micro-batch size. Medians, because another program may spoil a cache.
struct Samples {
  std::vector<Round> rounds;

  std::vector<double> totals(size_t kind) const {
    std::vector<double> out;
    for (const Round& round : rounds)
      out.push_back(std::accumulate(round.work[kind].begin(), round.work[kind].end(), 0.0));
    return out;
  }

  /// How far the medians may still be off, relatively.
  double doubt() const {
    std::vector<double> elapsed;
    for (const Round& round : rounds) elapsed.push_back(total_of(round.work) * round.slowdown);
    double worst = relative_spread(elapsed);
    for (const LayerKind kind : {LayerKind::kBlock, LayerKind::kHead})
      worst = std::max(worst, relative_spread(totals(static_cast<size_t>(kind))));
    return worst / std::sqrt(static_cast<double>(rounds.size()));
  }

  LayerSeconds seconds(LayerKind kind, int64_t grains, double slowdown) const {
    const auto k = static_cast<size_t>(kind);
    std::array<double, kPasses> middle{};
    for (size_t pass = 0; pass < kPasses; ++pass) {
      std::vector<double> values;
      for (const Round& round : rounds) values.push_back(round.work[k][pass]);
      middle[pass] = median(values);
    }
    // Medians do not add up; together they are to make the median of the sums.
    const double sum = std::accumulate(middle.begin(), middle.end(), 0.0);
    const double scale = sum > 0 ? slowdown * median(totals(k)) / sum : 1;
    const auto of = [&](LayerPass pass) { return scale * middle[static_cast<size_t>(pass)]; };
    return {.grains = grains,
            .forward = of(LayerPass::kForward),
            .loss = of(LayerPass::kLoss),
            .backward_input = of(LayerPass::kBackwardInput),
            .backward_weight = of(LayerPass::kBackwardWeight),
            .spread = relative_spread(totals(k))};
  }
};

int64_t thread_cpu_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// One rank's model of a few blocks, and what a step does with it.
class LayerBench {
 public:
  LayerBench(const LayerBenchOptions& options, const Recipe& recipe, Communicator& world)
      : options_(options),
        recipe_(recipe),
        world_(world),
        alone_(make_single()),
        mesh_(make_mesh(recipe, alone(recipe, 1), 1)),
        parameters_(recipe.model, mesh_.layers_of(0), recipe.numerics.compute, *options.ops),
        clock_(make_clock()),
        optimizer_(recipe.optimizer, parameters_),
        comms_(mesh_, *alone_),
        sums_(recipe, mesh_, parameters_, comms_, 0),
        pacer_({.device = options.device,
                .seed = options.imitation_seed,
                .rank = world.rank(),
                .grain_samples = recipe.grain_samples,
                .progress = [&world] { world.progress(); },
                .clock = options.clock}),
        chunk_(recipe.model, {.first = 0, .last = recipe.model.num_layers() - 1},
               {.compute = recipe.numerics.compute,
                .stop_at_documents = recipe.data.stop_at_documents,
                .loss_seed = 1.0 / padded_tokens(recipe),
                .grain_samples = recipe.grain_samples},
               parameters_) {
    parameters_.init(recipe.seed);
    chunk_.on_progress([this] { world_.progress(); });
    chunk_.on_layer([this](const LayerOp& op) { mark(&op); });
  }

  LayerMeasurement run();

 private:
  std::unique_ptr<WorkClock> make_clock() const;
  void begin() {
    pacer_.begin();
    mark(nullptr);
  }
  void mark(const LayerOp* ended);
  int64_t now() const { return options_.clock.now(); }
  double seconds_since(int64_t begin_ns) const {
    return static_cast<double>(now() - begin_ns) * 1e-9;
  }
  double settle();
  void run_once(const MicroBatch& batch);
  Round run_round(const MicroBatch& batch, double seconds);
  struct Size {
    int64_t grains = 0;      // of all ranks whose memory allows it
    int64_t own_grains = 0;  // of this one
    double budget = 0;       // seconds
    double left = 0;         // for all sizes to come
  };
  std::optional<Samples> measure_size(const Size& size);
  double slowdown() const { return trimmed_mean(slowdowns_, kOutliers); }
  double optimizer_seconds(double budget);
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const LayerBenchOptions& options_;
  const Recipe recipe_;
  Communicator& world_;
  const std::unique_ptr<Communicator> alone_;
  const Mesh mesh_;
  Parameters parameters_;
  const std::unique_ptr<WorkClock> clock_;
  AdamW optimizer_;
  BucketComms comms_;
  GradReducer sums_;
  Pacer pacer_;
  Chunk chunk_;
  std::vector<std::optional<LayerOp>> ended_;  // at the clock's marks; empty: something began
  std::vector<int64_t> times_;                 // of those
  PassSeconds round_{};                        // sums over runs
  std::vector<double> slowdowns_;              // of all rounds
};

/// What a pass needs: of a core its CPU time, of an imitated device the time it waits.
std::unique_ptr<WorkClock> LayerBench::make_clock() const {
  if (!parameters_.ops().on_host()) return parameters_.ops().work_clock();
  if (!options_.device.waits) return std::make_unique<HostClock>(thread_cpu_ns);
  return std::make_unique<HostClock>([this] { return now(); });
}

void LayerBench::mark(const LayerOp* ended) {
  if (ended) pacer_.layer(*ended);
  ended_.push_back(ended ? std::optional(*ended) : std::nullopt);
  clock_->mark();
}

/// Adds what was marked to the round; returns the seconds from the first mark to the last one.
double LayerBench::settle() {
  times_.clear();
  clock_->take(times_);
  for (size_t i = 1; i < times_.size(); ++i) {
    if (!ended_[i]) continue;
    const LayerOp& op = *ended_[i];
    const double layers =
        op.layer == LayerKind::kBlock ? static_cast<double>(recipe_.model.num_hidden_layers) : 1;
    round_[static_cast<size_t>(op.layer)][static_cast<size_t>(op.pass)] +=
        static_cast<double>(times_[i] - times_[i - 1]) * 1e-9 / layers;
  }
  ended_.clear();
  return times_.empty() ? 0 : static_cast<double>(times_.back() - times_.front()) * 1e-9;
}

void LayerBench::run_once(const MicroBatch& batch) {
  begin();
  chunk_.forward(0, batch, {});
  begin();
  chunk_.loss(0).take();
  begin();
  chunk_.backward_input(0, {});
  begin();
  chunk_.backward_weight(0, sums_);
}

/// Runs for about so many seconds; the mean run.
Round LayerBench::run_round(const MicroBatch& batch, double seconds) {
  round_ = {};
  int64_t runs = 0;
  const int64_t begin = now();
  do {
    run_once(batch);
    ++runs;
  } while (seconds_since(begin) < seconds);
  const double work = settle();
  Round round{.work = round_, .slowdown = work > 0 ? seconds_since(begin) / work : 1};
  for (auto& passes : round.work)
    for (double& pass : passes) pass /= static_cast<double>(runs);
  slowdowns_.push_back(round.slowdown);
  return round;
}

/// Empty when a run would take longer than is left; the same on all ranks. All ranks compute until
/// the last one is content.
std::optional<Samples> LayerBench::measure_size(const Size& size) {
  const MicroBatch batch = made_up_batch(recipe_, size.own_grains);
  sums_.begin_step();
  world_.barrier(deadline());
  const int64_t warm = now();
  const Round first = run_round(batch, 0);
  const double once = largest_of_all(world_, seconds_since(warm), deadline());
  if (size.grains > 1 && largest_of_all(world_, 2 * once - size.left, deadline()) > 0)
    return std::nullopt;
  Samples samples;
  // Too long to be run again: then the run that warms up must do.
  if (largest_of_all(world_, once - size.budget, deadline()) > 0) {
    samples.rounds.push_back(first);
    return samples;
  }
  slowdowns_.pop_back();
  const double round = std::max(kRoundSeconds, 1.02 * once);
  const int64_t begin = now();
  for (bool enough = false; !enough;) {
    world_.barrier(deadline());
    samples.rounds.push_back(run_round(batch, round));
    const bool content = samples.rounds.size() >= static_cast<size_t>(options_.fewest_rounds) &&
                         samples.doubt() < kGoodEnough;
    // One round says nothing of its spread; of a long one it must do.
    const bool over = (samples.rounds.size() > 1 || once > kLongSeconds) &&
                      seconds_since(begin) + round > size.budget;
    enough = largest_of_all(world_, content ? 0 : 1, deadline()) == 0 ||
             largest_of_all(world_, over ? 1 : 0, deadline()) > 0;
  }
  return samples;
}

/// As Step does it: sums set to zero, squares added up, AdamW, the compute copy.
double LayerBench::optimizer_seconds(double budget) {
  int64_t parameters = 0;
  for (const int group : parameters_.groups()) parameters += parameters_.layout(group).size;
  std::vector<double> seconds;
  // An imitated device's optimizer is this machine's.
  const std::unique_ptr<WorkClock> clock =
      options_.device.waits ? std::make_unique<HostClock>(thread_cpu_ns) : make_clock();
  world_.barrier(deadline());
  const int64_t begin = now_ns();
  for (int64_t step = 1; step <= 3 || really_since(begin) < budget; ++step) {
    const double took = seconds_of(*clock, [&] {
      sums_.begin_step();
      sums_.finish(deadline());
      for (const int group : parameters_.groups()) {
        if (parameters_.layout(group).size == 0) continue;
        if (!optimizer_.update(group, sums_.gradient(group), 1.0f, 1e-9, step))
          parameters_.refresh(group);
      }
    });
    if (step > 1) seconds.push_back(took);
    world_.progress();
  }
  return (options_.device.waits ? 1 : slowdown()) * median(seconds) /
         static_cast<double>(parameters);
}

LayerMeasurement LayerBench::run() {
  const std::vector<int64_t> fit = sizes_that_fit(options_, recipe_);
  const auto most =
      static_cast<int64_t>(largest_of_all(world_, static_cast<double>(fit.back()), deadline()));
  auto sizes_left = static_cast<int>(std::bit_width(static_cast<uint64_t>(most)));
  const double for_sizes = std::max(options_.seconds - kOptimizerSeconds, 0.5 * options_.seconds);
  const int64_t begin = now();
  std::vector<std::pair<int64_t, Samples>> measured_sizes;
  for (int64_t grains = 1; grains <= most; grains *= 2, --sizes_left) {
    const double left = for_sizes - seconds_since(begin);
    // A rank whose memory is full goes on computing at its last size.
    const int64_t own = std::min(grains, fit.back());
    const std::optional<Samples> samples = measure_size(
        {.grains = grains, .own_grains = own, .budget = left / sizes_left, .left = left});
    if (!samples) break;
    if (own == grains) measured_sizes.emplace_back(grains, *samples);
  }
  LayerMeasurement measured;
  for (const LayerKind kind : {LayerKind::kEmbedding, LayerKind::kBlock, LayerKind::kHead}) {
    LayerCurve& curve = measured.curves.emplace_back();
    curve.layer = kind;
    curve.compute = recipe_.numerics.compute;
    for (const auto& [grains, samples] : measured_sizes)
      curve.at.push_back(samples.seconds(kind, grains, slowdown()));
  }
  measured.optimizer_seconds_per_parameter =
      optimizer_seconds(std::min(kOptimizerSeconds, 0.5 * options_.seconds));
  measured.late = pacer_.late_share();
  return measured;
}

}  // namespace

LayerMeasurement measure_layers(const LayerBenchOptions& options, Communicator& world) {
  const Deadline deadline = Deadline::after_seconds(options.timeout_seconds);
  std::unique_ptr<LayerBench> bench;
  together(
      world,
      [&] { bench = std::make_unique<LayerBench>(options, with_blocks_that_fit(options), world); },
      deadline);
  return bench->run();
}

}  // namespace kente
