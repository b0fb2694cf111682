#include "benchmarks/trainee.h"

#include <algorithm>
#include <utility>

#include "csrc/base/clock.h"
#include "csrc/base/rng.h"

namespace kente {

MicroBatch random_batch(const Recipe& recipe, int64_t samples, uint64_t stream) {
  MicroBatch batch = MicroBatch::zeros(samples, recipe.sequence_length);
  const int64_t count = batch.samples * batch.length;
  for (int64_t i = 0; i < count; ++i) {
    const auto token = [&](int64_t at) {
      return static_cast<int32_t>(random_bits(1, RngUse::kTest, stream, static_cast<uint64_t>(at)) %
                                  static_cast<uint64_t>(recipe.model.vocab_size));
    };
    batch.plane(MicroBatch::kTokens)[i] = token(i);
    batch.plane(MicroBatch::kTargets)[i] = token(i + 1);
    batch.plane(MicroBatch::kLossMask)[i] = 1;
    batch.plane(MicroBatch::kPositions)[i] = static_cast<int32_t>(i % batch.length);
  }
  return batch;
}

Recipe shape_6_9m(int64_t grains) {
  Recipe recipe;
  recipe.name = "6.9M";
  recipe.model = {.family = ModelFamily::kGpt2,
                  .vocab_size = 8192,
                  .hidden_size = 256,
                  .intermediate_size = 1024,
                  .num_hidden_layers = 6,
                  .num_attention_heads = 8,
                  .num_key_value_heads = 8,
                  .max_position_embeddings = 256,
                  .norm_epsilon = 1e-5,
                  .tie_word_embeddings = true,
                  .initializer_range = 0.02};
  recipe.optimizer = {.learning_rate = 3e-4,
                      .beta1 = 0.9,
                      .beta2 = 0.95,
                      .epsilon = 1e-8,
                      .weight_decay = 0.1,
                      .clip_norm = 1.0};
  recipe.lr.kind = LrSchedule::kConstant;
  recipe.steps = 1000;
  recipe.sequence_length = 256;
  recipe.grain_samples = 1;
  recipe.global_batch_tokens = grains * 256;
  return recipe;
}

Recipe tiny_shape(int64_t blocks, int64_t grains) {
  Recipe recipe = shape_6_9m(grains);
  recipe.name = "tiny";
  recipe.model.vocab_size = 64;
  recipe.model.hidden_size = 32;
  recipe.model.intermediate_size = 64;
  recipe.model.num_hidden_layers = blocks;
  recipe.model.num_attention_heads = recipe.model.num_key_value_heads = 2;
  recipe.model.max_position_embeddings = recipe.sequence_length = 8;
  recipe.global_batch_tokens = grains * recipe.sequence_length;
  return recipe;
}

Trainee::Trainee(const Recipe& recipe, const Plan& plan, Communicator& world,
                 const Imitation* imitation)
    : recipe_(recipe),
      plan_(plan),
      mesh_(make_mesh(recipe_, plan_, world.size())),
      parameters_(recipe_.model, mesh_.layers_of(world.rank()), recipe_.numerics.compute),
      optimizer_(recipe_.optimizer, parameters_),
      step_(recipe_, plan_, mesh_, world, parameters_, optimizer_, 120),
      replica_(mesh_.replica_of(world.rank())),
      reads_(mesh_.reads_data(world.rank())) {
  parameters_.init(1);
  if (!imitation) return;
  pacer_.emplace(Pacer::Options{.device = imitation->rank(world.rank()),
                                .seed = imitation->seed,
                                .rank = world.rank(),
                                .grain_samples = recipe_.grain_samples,
                                .progress = [&world] { world.progress(); }});
  step_.runner().set_pacer(&*pacer_);
}

double Trainee::run() {
  std::vector<MicroBatch> batches;
  if (reads_)
    for (const MeshMicroBatch& m : mesh_.replicas[static_cast<size_t>(replica_)].micro_batches)
      batches.push_back(random_batch(recipe_, m.grains * recipe_.grain_samples,
                                     static_cast<uint64_t>(m.first_grain)));
  const int64_t begin = now_ns();
  step_.run(++steps_, std::move(batches), {});
  return seconds_since(begin);
}

double max_over_ranks(Communicator& world, double value) {
  world.all_reduce({.data = &value, .count = 1, .dtype = DType::kF64}, ReduceOp::kMax)
      ->wait(Deadline::after_seconds(60));
  return value;
}

double median_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_step(const Recipe& recipe, const Plan& plan, const Imitation& imitation,
                   Communicator& world, int steps) {
  Trainee trainee(recipe, plan, world, &imitation);
  std::vector<double> seconds;
  for (int step = -1; step < steps; ++step) {
    world.barrier(Deadline::after_seconds(120));
    const double took = max_over_ranks(world, trainee.run());
    if (step >= 0) seconds.push_back(took);
  }
  return median_of(std::move(seconds));
}

}  // namespace kente
