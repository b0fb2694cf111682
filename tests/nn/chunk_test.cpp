#include "csrc/nn/chunk.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <numeric>
#include <string>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

constexpr int64_t kLength = 9;

/// Gradients and losses of one micro-batch through chunks cut at borders.
struct Result {
  at::Tensor border;  // the last activation between two chunks, if there is one
  LossSums loss;
  std::map<int, at::Tensor> gradients;
};

struct Case {
  ModelFamily family;
  DType compute;
};

class ChunkOf : public testing::TestWithParam<Case> {
 protected:
  ChunkOf() : model_(tiny_model(GetParam().family, true)) { at::set_num_threads(1); }

  ChunkOptions options() const {
    ChunkOptions options;
    options.compute = GetParam().compute;
    options.stop_at_documents = true;
    options.loss_seed = 0x1p-5;
    return options;
  }
  int head() const { return model_.num_layers() - 1; }

  /// borders {0, 3, layers}: chunks [0 .. 2] and [3 .. head], each with parameters of its own.
  Result run(const std::vector<int>& borders, const MicroBatch& batch,
             const ChunkOptions& options) const {
    std::vector<std::unique_ptr<Parameters>> parameters;
    std::vector<std::unique_ptr<Chunk>> chunks;
    for (size_t i = 0; i + 1 < borders.size(); ++i) {
      std::vector<int> layers(static_cast<size_t>(borders[i + 1] - borders[i]));
      std::iota(layers.begin(), layers.end(), borders[i]);
      parameters.push_back(std::make_unique<Parameters>(model_, layers, options.compute));
      randomize(*parameters.back());
      chunks.push_back(std::make_unique<Chunk>(model_, LayerRange{layers.front(), layers.back()},
                                               options, *parameters.back()));
    }
    Result result;
    at::Tensor x;
    for (const auto& chunk : chunks) {
      if (x.defined()) result.border = x.clone();
      x = chunk->forward(4, batch, x);
    }
    result.loss = chunks.back()->loss(4).take();
    at::Tensor grad;
    for (size_t i = chunks.size(); i-- > 0;) grad = chunks[i]->backward_input(4, grad);
    for (size_t i = chunks.size(); i-- > 0;) {
      MapSink sink(*parameters[i]);
      chunks[i]->backward_weight(4, sink);
      EXPECT_EQ(chunks[i]->saved_bytes(), 0);
      for (const auto& [group, gradient] : sink.gradients) {
        at::Tensor& total = result.gradients[group];
        total = total.defined() ? total.add(gradient) : gradient;
      }
    }
    return result;
  }

  static void expect_same(const Result& a, const Result& b) {
    EXPECT_EQ(a.loss.tokens, b.loss.tokens);
    ASSERT_EQ(a.loss.nats.size(), b.loss.nats.size());
    EXPECT_EQ(std::memcmp(a.loss.nats.data(), b.loss.nats.data(), 8 * a.loss.nats.size()), 0);
    ASSERT_EQ(a.gradients.size(), b.gradients.size());
    for (const auto& [group, gradient] : a.gradients)
      EXPECT_TRUE(same_bits(gradient, b.gradients.at(group))) << "group " << group;
  }

  ModelConfig model_;
};

TEST_P(ChunkOf, AnySplitGivesTheSameBits) {
  const MicroBatch batch = tiny_batch(model_, 3, kLength, true);
  const Result whole = run({0, 4}, batch, options());
  for (const std::vector<int>& borders :
       {std::vector<int>{0, 3, 4}, {0, 1, 4}, {0, 2, 4}, {0, 1, 2, 3, 4}}) {
    // The tied group's two contributions are added in another order than in one chunk: compare it
    // apart.
    Result split = run(borders, batch, options());
    Result one = whole;
    const int tied = model_.num_layers();
    EXPECT_LE(relative_difference(split.gradients.at(tied), one.gradients.at(tied)), 1e-6);
    split.gradients.erase(tied);
    one.gradients.erase(tied);
    expect_same(split, one);
  }
}

TEST_P(ChunkOf, RecomputeGivesTheSameBits) {
  const MicroBatch batch = tiny_batch(model_, 3, kLength, true);
  ChunkOptions recompute = options();
  recompute.recompute = Recompute::kFull;
  expect_same(run({0, 4}, batch, recompute), run({0, 4}, batch, options()));
}

TEST_P(ChunkOf, RepeatsBitForBit) {
  const MicroBatch batch = tiny_batch(model_, 2, kLength, true);
  expect_same(run({0, 4}, batch, options()), run({0, 4}, batch, options()));
}

TEST_P(ChunkOf, ActivationsAtBordersAreInTheComputeDtype) {
  const MicroBatch batch = tiny_batch(model_, 2, kLength, true);
  const Result result = run({0, 2, 4}, batch, options());
  EXPECT_EQ(result.border.sizes(), (std::vector<int64_t>{2, kLength, model_.hidden_size}));
  EXPECT_EQ(result.border.scalar_type(), scalar_type(GetParam().compute));
}

TEST_P(ChunkOf, MicroBatchesUnderWayDoNotDisturbEachOther) {
  Parameters parameters(model_, all_layers(model_), GetParam().compute);
  randomize(parameters);
  const MicroBatch a = tiny_batch(model_, 1, kLength, true);
  MicroBatch b = tiny_batch(model_, 1, kLength - 2, true);
  const auto gradients = [&](const std::vector<const MicroBatch*>& order, bool interleaved) {
    Chunk chunk(model_, {0, head()}, options(), parameters);
    MapSink sink(parameters);
    const int count = static_cast<int>(order.size());
    const auto start = [&](int i) {
      chunk.forward(i, *order[static_cast<size_t>(i)], {});
      chunk.loss(i);
    };
    const auto finish = [&](int i) {
      chunk.backward_input(i, {});
      chunk.backward_weight(i, sink);
    };
    for (int i = 0; i < count; ++i) {
      start(i);
      if (!interleaved) finish(i);
    }
    for (int i = 0; interleaved && i < count; ++i) finish(i);
    EXPECT_EQ(chunk.saved_bytes(), 0);
    return sink.gradients;
  };
  const auto one_by_one = gradients({&a, &b, &a}, false);
  for (const auto& [group, gradient] : gradients({&a, &b, &a}, true))
    EXPECT_TRUE(same_bits(gradient, one_by_one.at(group))) << group;
}

TEST_P(ChunkOf, ABatchOfGrainsGivesTheirSumUpToRounding) {
  const MicroBatch batch = tiny_batch(model_, 2, kLength, true);
  ChunkOptions two = options();
  two.grain_samples = 1;
  const Result together = run({0, 4}, batch, two);
  ASSERT_EQ(together.loss.nats.size(), 2u);
  std::map<int, at::Tensor> sum;
  for (int64_t sample = 0; sample < 2; ++sample) {
    MicroBatch single = MicroBatch::zeros(1, kLength);
    for (int field = 0; field < MicroBatch::kFields; ++field)
      std::memcpy(single.plane(static_cast<MicroBatch::Field>(field)),
                  batch.plane(static_cast<MicroBatch::Field>(field)) + sample * kLength,
                  kLength * 4);
    const Result alone = run({0, 4}, single, two);
    const auto index = static_cast<size_t>(sample);
    EXPECT_NEAR(alone.loss.nats[0], together.loss.nats[index], 1e-5 * alone.loss.nats[0]);
    EXPECT_EQ(alone.loss.tokens[0], together.loss.tokens[index]);
    for (const auto& [group, gradient] : alone.gradients)
      sum[group] = sum[group].defined() ? sum[group].add(gradient) : gradient;
  }
  // As many bits as the type has.
  const std::map<DType, double> tolerances = {
      {DType::kF32, 1e-5}, {DType::kF16, 2e-3}, {DType::kBF16, 1e-2}};
  const double tolerance = tolerances.at(GetParam().compute);
  for (const auto& [group, gradient] : together.gradients) {
    if (gradient.numel() == 0) continue;
    EXPECT_LE(relative_difference(gradient, sum.at(group)), tolerance) << group;
  }
}

TEST_P(ChunkOf, KeepsWhatTheMemoryFormulaSays) {
  const int64_t samples = 2;
  const int64_t tokens = samples * kLength;
  const MicroBatch batch = tiny_batch(model_, samples, kLength, true);
  const bool gpt2 = model_.family == ModelFamily::kGpt2;
  const int64_t e = size_of(GetParam().compute);
  const int64_t d = model_.hidden_size;
  const int64_t f = model_.intermediate_size;
  const int64_t h = model_.num_attention_heads;
  const int64_t w = (h + 2 * model_.num_key_value_heads) * model_.head_dim();
  const int64_t u = gpt2 ? f : 2 * f;
  const int64_t s = gpt2 ? 8 : 4;
  const int64_t vectors = 4 * d * (gpt2 ? 2 : 1);  // of one norm
  for (const Recompute recompute : {Recompute::kNone, Recompute::kFull}) {
    ChunkOptions with = options();
    with.recompute = recompute;
    Parameters parameters(model_, {1}, with.compute);
    randomize(parameters);
    Chunk block(model_, {1, 1}, with, parameters);
    const at::Tensor x =
        random_tensor({samples, kLength, d}, 1).to(scalar_type(GetParam().compute));
    const at::Tensor y = block.forward(0, batch, x);
    EXPECT_EQ(block.saved_bytes(), recompute == Recompute::kFull
                                       ? tokens * e * d
                                       : tokens * (e * (5 * d + w + u + f) + 4 * h + 2 * s));
    block.backward_input(0, y.clone());
    EXPECT_EQ(block.saved_bytes(), tokens * e * (5 * d + w + u + f) + 2 * vectors);
  }
  Parameters parameters(model_, {head()}, GetParam().compute);
  randomize(parameters);
  Chunk chunk(model_, {head(), head()}, options(), parameters);
  chunk.forward(0, batch,
                random_tensor({samples, kLength, d}, 1).to(scalar_type(GetParam().compute)));
  EXPECT_EQ(chunk.saved_bytes(), tokens * (e * 2 * d + 4 * model_.vocab_size + s));
  chunk.loss(0);
  chunk.backward_input(0, {});
  EXPECT_EQ(chunk.saved_bytes(), tokens * (e * d + 4 * model_.vocab_size) + vectors);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2})
    for (const DType compute : {DType::kF32, DType::kBF16, DType::kF16})
      all.push_back({family, compute});
  return all;
}

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  const char* families[] = {"Gpt2", "Llama", "Qwen2"};
  return std::string(families[static_cast<int>(info.param.family)]) +
         std::string(name_of(info.param.compute));
}

INSTANTIATE_TEST_SUITE_P(Families, ChunkOf, testing::ValuesIn(cases()), name_of_case);

/// One whole tiny model in f32 and its batch.
struct Whole {
  explicit Whole(ModelFamily family, bool tied, ChunkOptions options = {})
      : model(tiny_model(family, tied)),
        parameters(model, all_layers(model), DType::kF32),
        chunk(model, {0, model.num_layers() - 1}, options, parameters) {
    at::set_num_threads(1);
    randomize(parameters);
  }
  ModelConfig model;
  Parameters parameters;
  Chunk chunk;
};

TEST(Chunk, OpensAndClosesEveryContributionOnceFromTheLastLayerDown) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama}) {
    for (const bool tied : {true, false}) {
      Whole whole(family, tied);
      const MicroBatch batch = tiny_batch(whole.model, 1, kLength, false);
      MapSink sink(whole.parameters);
      whole.chunk.forward(0, batch, {});
      whole.chunk.loss(0);
      whole.chunk.backward_input(0, {});
      whole.chunk.backward_weight(0, sink);
      std::vector<int> want = tied ? std::vector<int>{3, 4, 2, 1} : std::vector<int>{3, 2, 1};
      if (family == ModelFamily::kGpt2 || !tied) want.push_back(0);
      if (tied) want.push_back(4);
      EXPECT_EQ(sink.order, want);
      EXPECT_EQ(sink.opened, sink.closed);
    }
  }
}

TEST(Chunk, DocumentsDoNotSeeEachOther) {
  ChunkOptions options;
  options.stop_at_documents = true;
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama}) {
    Whole whole(family, true, options);
    MicroBatch batch = tiny_batch(whole.model, 1, kLength, true);
    const at::Tensor before =
        whole.chunk.evaluate_logits(batch, whole.chunk.evaluate(batch, {})).clone();
    // Documents are tokens 0-2, 3, 4-8: changing token 1 must leave 3-8 alone, bit for bit.
    int32_t& token = batch.plane(MicroBatch::kTokens)[1];
    token = (token + 1) % 37;
    const at::Tensor after = whole.chunk.evaluate_logits(batch, whole.chunk.evaluate(batch, {}));
    EXPECT_TRUE(
        same_bits(before[0].narrow(0, 3, 6).contiguous(), after[0].narrow(0, 3, 6).contiguous()));
    EXPECT_FALSE(same_bits(before[0][2].contiguous(), after[0][2].contiguous()));
  }
}

TEST(Chunk, WithoutBordersADocumentSeesTheOneBefore) {
  Whole whole(ModelFamily::kLlama, true);
  MicroBatch batch = tiny_batch(whole.model, 1, kLength, false);
  const at::Tensor before = whole.chunk.evaluate(batch, {}).clone();
  int32_t& token = batch.plane(MicroBatch::kTokens)[1];
  token = (token + 1) % 37;
  const at::Tensor after = whole.chunk.evaluate(batch, {});
  EXPECT_FALSE(same_bits(before[0][8].contiguous(), after[0][8].contiguous()));
  EXPECT_TRUE(same_bits(before[0][0].contiguous(), after[0][0].contiguous()));
}

TEST(Chunk, EvaluationGivesTheTrainingLossAndKeepsNothing) {
  Whole whole(ModelFamily::kQwen2, true);
  const MicroBatch batch = tiny_batch(whole.model, 2, kLength, false);
  const LossSums evaluated =
      whole.chunk.evaluate_loss(batch, whole.chunk.evaluate(batch, {})).take();
  EXPECT_EQ(whole.chunk.saved_bytes(), 0);
  whole.chunk.forward(0, batch, {});
  const LossSums trained = whole.chunk.loss(0).take();
  EXPECT_EQ(evaluated.nats, trained.nats);
  EXPECT_EQ(evaluated.tokens, trained.tokens);
  int64_t masked = 0;
  for (int64_t i = 0; i < 2 * kLength; ++i) masked += batch.plane(MicroBatch::kLossMask)[i] == 0;
  EXPECT_GT(masked, 0);
  EXPECT_EQ(trained.tokens[0] + trained.tokens[1], 2 * kLength - masked);
}

TEST(Chunk, AMaskedTargetContributesNothing) {
  Whole whole(ModelFamily::kGpt2, true);
  MicroBatch batch = tiny_batch(whole.model, 1, kLength, false);
  batch.plane(MicroBatch::kLossMask)[5] = 0;
  const auto gradients = [&] {
    MapSink sink(whole.parameters);
    whole.chunk.forward(0, batch, {});
    whole.chunk.loss(0);
    whole.chunk.backward_input(0, {});
    whole.chunk.backward_weight(0, sink);
    return sink.gradients;
  };
  const auto before = gradients();
  batch.plane(MicroBatch::kTargets)[5] = -1;
  for (const auto& [group, gradient] : gradients())
    EXPECT_TRUE(same_bits(gradient, before.at(group))) << group;
}

TEST(Chunk, TheSeedScalesTheGradientExactly) {
  ChunkOptions small;
  small.loss_seed = 0x1p-7;
  Whole one(ModelFamily::kLlama, false);
  Whole scaled(ModelFamily::kLlama, false, small);
  const MicroBatch batch = tiny_batch(one.model, 1, kLength, false);
  const auto gradients = [&](Whole& whole) {
    MapSink sink(whole.parameters);
    whole.chunk.forward(0, batch, {});
    whole.chunk.loss(0);
    whole.chunk.backward_input(0, {});
    whole.chunk.backward_weight(0, sink);
    return sink.gradients;
  };
  const auto full = gradients(one);
  for (const auto& [group, gradient] : gradients(scaled))
    EXPECT_TRUE(same_bits(gradient.mul(128), full.at(group))) << group;
}

TEST(Chunk, CallsProgressBetweenOperations) {
  Whole whole(ModelFamily::kGpt2, true);
  const MicroBatch batch = tiny_batch(whole.model, 1, kLength, false);
  int calls = 0;
  whole.chunk.on_progress([&] { ++calls; });
  const auto calls_of = [&](const std::function<void()>& action) {
    calls = 0;
    action();
    return calls;
  };
  MapSink sink(whole.parameters);
  // At least once for each of the 4 layers, and inside the blocks.
  EXPECT_GE(calls_of([&] { whole.chunk.forward(0, batch, {}); }), 8);
  whole.chunk.loss(0);
  EXPECT_GE(calls_of([&] { whole.chunk.backward_input(0, {}); }), 8);
  EXPECT_GE(calls_of([&] { whole.chunk.backward_weight(0, sink); }), 8);
}

TEST(Chunk, RefusesWhatDoesNotFit) {
  Whole whole(ModelFamily::kGpt2, true);
  const MicroBatch batch = tiny_batch(whole.model, 1, kLength, false);
  const MicroBatch too_long = tiny_batch(whole.model, 1, kLength + 1, false);
  EXPECT_THROW(whole.chunk.forward(0, too_long, {}), InternalError);
  EXPECT_THROW(whole.chunk.backward_input(3, {}), InternalError);
  whole.chunk.forward(1, batch, {});
  EXPECT_THROW(whole.chunk.forward(1, batch, {}), InternalError);
  EXPECT_THROW(whole.chunk.backward_input(1, {}), InternalError);  // before loss()
  Chunk block(whole.model, {1, 1}, {}, whole.parameters);
  EXPECT_THROW(block.forward(0, batch, random_tensor({1, kLength, 23}, 1).to(at::kFloat)),
               InternalError);
}

}  // namespace
}  // namespace kente
