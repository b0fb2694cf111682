#include "csrc/measure/layers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "comm/local.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/rng.h"
#include "csrc/measure/agree.h"
#include "csrc/measure/statistics.h"
#include "csrc/nn/chunk.h"
#include "csrc/plan/memory.h"
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

/// Mean seconds of every pass of one layer of every kind, round by round. Means, because a rank
/// that is stopped now and then (a CPU quota, more ranks than cores) is slow in few passes only;
/// the median over rounds, because another program may have run in one of them.
struct Samples {
  std::vector<PassSeconds> rounds;

  std::vector<double> totals(size_t kind) const {
    std::vector<double> out;
    for (const PassSeconds& round : rounds)
      out.push_back(std::accumulate(round[kind].begin(), round[kind].end(), 0.0));
    return out;
  }

  /// How far the medians may still be off, relatively.
  double doubt() const {
    double worst = 0;
    for (const LayerKind kind : {LayerKind::kBlock, LayerKind::kHead})
      worst = std::max(worst, relative_spread(totals(static_cast<size_t>(kind))));
    return worst / std::sqrt(static_cast<double>(rounds.size()));
  }

  LayerSeconds seconds(LayerKind kind, int64_t grains) const {
    const auto k = static_cast<size_t>(kind);
    std::array<double, kPasses> middle{};
    for (size_t pass = 0; pass < kPasses; ++pass) {
      std::vector<double> values;
      for (const PassSeconds& round : rounds) values.push_back(round[k][pass]);
      middle[pass] = median(values);
    }
    // Medians do not add up; together they are to make the median of the sums.
    const double sum = std::accumulate(middle.begin(), middle.end(), 0.0);
    const double scale = sum > 0 ? median(totals(k)) / sum : 1;
    const auto of = [&](LayerPass pass) { return scale * middle[static_cast<size_t>(pass)]; };
    return {.grains = grains,
            .forward = of(LayerPass::kForward),
            .loss = of(LayerPass::kLoss),
            .backward_input = of(LayerPass::kBackwardInput),
            .backward_weight = of(LayerPass::kBackwardWeight),
            .spread = relative_spread(totals(k))};
  }
};

/// One rank's model of a few blocks, and what a step does with it.
class LayerBench {
 public:
  LayerBench(const LayerBenchOptions& options, const Recipe& recipe, Communicator& world)
      : options_(options),
        recipe_(recipe),
        world_(world),
        alone_(make_single()),
        mesh_(make_mesh(recipe, alone(recipe, 1), 1)),
        parameters_(recipe.model, mesh_.layers_of(0), recipe.numerics.compute),
        optimizer_(recipe.optimizer, parameters_),
        sums_(recipe, mesh_, parameters_, *alone_),
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
    chunk_.on_layer([this](const LayerOp& op) { ended(op); });
  }

  LayerMeasurement run();

 private:
  void begin() {
    pacer_.begin();
    last_ns_ = now();
  }
  int64_t now() const { return options_.clock.now(); }
  double seconds_since(int64_t begin_ns) const {
    return static_cast<double>(now() - begin_ns) * 1e-9;
  }
  void ended(const LayerOp& op);
  void run_once(const MicroBatch& batch);
  PassSeconds run_round(const MicroBatch& batch, double seconds);
  struct Size {
    int64_t grains = 0;      // of all ranks whose memory allows it
    int64_t own_grains = 0;  // of this one
    double budget = 0;       // seconds
    double left = 0;         // for all sizes to come
  };
  std::optional<Samples> measure_size(const Size& size);
  double optimizer_seconds(double budget);
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const LayerBenchOptions& options_;
  const Recipe recipe_;
  Communicator& world_;
  const std::unique_ptr<Communicator> alone_;
  const Mesh mesh_;
  Parameters parameters_;
  AdamW optimizer_;
  GradReducer sums_;
  Pacer pacer_;
  Chunk chunk_;
  PassSeconds round_{};  // sums over runs
  int64_t last_ns_ = 0;
};

void LayerBench::ended(const LayerOp& op) {
  pacer_.layer(op);
  const int64_t at = now();
  const double seconds = static_cast<double>(at - last_ns_) * 1e-9;
  last_ns_ = at;
  const double layers =
      op.layer == LayerKind::kBlock ? static_cast<double>(recipe_.model.num_hidden_layers) : 1;
  round_[static_cast<size_t>(op.layer)][static_cast<size_t>(op.pass)] += seconds / layers;
}

void LayerBench::run_once(const MicroBatch& batch) {
  begin();
  chunk_.forward(0, batch, {});
  begin();
  chunk_.loss(0);
  begin();
  chunk_.backward_input(0, {});
  begin();
  chunk_.backward_weight(0, sums_);
}

/// Runs for about so many seconds; the mean run.
PassSeconds LayerBench::run_round(const MicroBatch& batch, double seconds) {
  round_ = {};
  int64_t runs = 0;
  const int64_t begin = now();
  do {
    run_once(batch);
    ++runs;
  } while (seconds_since(begin) < seconds);
  for (auto& passes : round_)
    for (double& pass : passes) pass /= static_cast<double>(runs);
  return round_;
}

/// Empty when a run would take longer than is left; the same on all ranks. All ranks compute until
/// the last one is content.
std::optional<Samples> LayerBench::measure_size(const Size& size) {
  const MicroBatch batch = made_up_batch(recipe_, size.own_grains);
  sums_.begin_step();
  world_.barrier(deadline());
  const int64_t warm = now();
  run_once(batch);
  const double once = largest_of_all(world_, seconds_since(warm), deadline());
  if (size.grains > 1 && largest_of_all(world_, 2 * once - size.left, deadline()) > 0)
    return std::nullopt;
  Samples samples;
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
  world_.barrier(deadline());
  const int64_t begin = now_ns();
  for (int64_t step = 1; step <= 3 || really_since(begin) < budget; ++step) {
    const int64_t once = now_ns();
    sums_.begin_step();
    sums_.finish(deadline());
    for (const int group : parameters_.groups()) {
      if (parameters_.layout(group).size == 0) continue;
      optimizer_.update(group, sums_.gradient(group), 1.0f, 1e-9, step);
      parameters_.refresh(group);
    }
    if (step > 1) seconds.push_back(really_since(once));
    world_.progress();
  }
  return median(seconds) / static_cast<double>(parameters);
}

LayerMeasurement LayerBench::run() {
  LayerMeasurement measured;
  const DType compute = recipe_.numerics.compute;
  for (const LayerKind kind : {LayerKind::kEmbedding, LayerKind::kBlock, LayerKind::kHead})
    measured.curves.push_back({.layer = kind, .compute = compute, .at = {}});
  const std::vector<int64_t> fit = sizes_that_fit(options_, recipe_);
  const auto most =
      static_cast<int64_t>(largest_of_all(world_, static_cast<double>(fit.back()), deadline()));
  const double for_sizes = std::max(options_.seconds - kOptimizerSeconds, 0.5 * options_.seconds);
  const int64_t begin = now();
  for (int64_t grains = 1; grains <= most; grains *= 2) {
    const double left = for_sizes - seconds_since(begin);
    // Bigger sizes take as many runs, each as much longer; small ones get their rounds anyway.
    const double share = static_cast<double>(grains) / static_cast<double>(2 * most - grains);
    const double budget = std::max(left * share, options_.fewest_rounds * kRoundSeconds);
    // A rank whose memory is full goes on computing at its last size.
    const int64_t own = std::min(grains, fit.back());
    const std::optional<Samples> samples =
        measure_size({.grains = grains, .own_grains = own, .budget = budget, .left = left});
    if (!samples) break;
    if (own < grains) continue;
    for (LayerCurve& curve : measured.curves)
      curve.at.push_back(samples->seconds(curve.layer, grains));
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
