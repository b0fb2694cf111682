// What PyTorch and transformers computed for the same weights and tokens.
#include "tests/golden/golden_run.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

class GoldenParity : public testing::TestWithParam<ModelFamily> {
 protected:
  GoldenParity() : run_(read_golden_run(GetParam())) {}

  Parameters parameters(DType compute) const {
    Parameters parameters(run_.model, all_layers(run_.model), compute);
    size_t read = 0;
    for (const int group : parameters.groups()) {
      for (const ParamSpec& spec : parameters.layout(group).params) {
        const std::vector<float>& weights = run_.weights.at(spec.name);
        EXPECT_EQ(static_cast<int64_t>(weights.size()), spec.count) << spec.name;
        std::copy(weights.begin(), weights.end(),
                  parameters.master(group).mutable_data_ptr<float>() + spec.offset);
        ++read;
      }
      parameters.refresh(group);
    }
    EXPECT_EQ(read, run_.weights.size());
    return parameters;
  }

  ChunkOptions options(DType compute) const {
    ChunkOptions options;
    options.compute = compute;
    options.loss_seed = 1.0 / static_cast<double>(run_.samples * run_.length);  // 2^-8
    return options;
  }

  int head() const { return run_.model.num_layers() - 1; }

  GoldenRun run_;
};

TEST_P(GoldenParity, TheFirstLossDiffersByAtMost1e5) {
  const Parameters weights = parameters(DType::kF32);
  Chunk chunk(run_.model, {0, head()}, options(DType::kF32), weights);
  const MicroBatch batch = run_.batch(0, 0, run_.samples);
  chunk.forward(0, batch, {});
  const LossSums sums = chunk.loss(0).take();
  ASSERT_EQ(static_cast<int64_t>(sums.nats.size()), run_.samples);
  double nats = 0;
  for (const double n : sums.nats) nats += n;
  const double loss = nats / static_cast<double>(run_.samples * run_.length);
  EXPECT_LE(std::abs(loss / run_.losses[0] - 1), 1e-6) << loss << " want " << run_.losses[0];
}

TEST_P(GoldenParity, TheFirstLogitsAreEqual) {
  const Parameters weights = parameters(DType::kF32);
  Chunk chunk(run_.model, {0, head()}, options(DType::kF32), weights);
  const MicroBatch batch = run_.batch(0, 0, 1);
  const at::Tensor logits = chunk.evaluate_logits(batch, chunk.evaluate(batch, {}));
  ASSERT_EQ(logits.numel(), static_cast<int64_t>(run_.first_logits.size()));
  const float* got = logits.const_data_ptr<float>();
  for (size_t i = 0; i < run_.first_logits.size(); ++i)
    ASSERT_NEAR(got[i], run_.first_logits[i], 1e-5f) << i;
}

TEST_P(GoldenParity, TheFirstGradientNormIsEqual) {
  const Parameters weights = parameters(DType::kF32);
  Chunk chunk(run_.model, {0, head()}, options(DType::kF32), weights);
  MapSink sink(weights);
  for (int sample = 0; sample < run_.samples; ++sample) {
    const MicroBatch batch = run_.batch(0, sample, 1);
    chunk.forward(0, batch, {});
    chunk.loss(0);
    chunk.backward_input(0, {});
    chunk.backward_weight(0, sink);
  }
  double squares = 0;
  for (const auto& [group, gradient] : sink.gradients)
    for (const double g : values_of(gradient)) squares += g * g;
  EXPECT_LE(std::abs(std::sqrt(squares) / run_.grad_norms[0] - 1), 1e-5)
      << std::sqrt(squares) << " want " << run_.grad_norms[0];
}

TEST_P(GoldenParity, InBf16TheFirstLossIsWithinHalfAPercent) {
  const Parameters weights = parameters(DType::kBF16);
  Chunk chunk(run_.model, {0, head()}, options(DType::kBF16), weights);
  const MicroBatch batch = run_.batch(0, 0, run_.samples);
  chunk.forward(0, batch, {});
  const LossSums sums = chunk.loss(0).take();
  double nats = 0;
  for (const double n : sums.nats) nats += n;
  const double loss = nats / static_cast<double>(run_.samples * run_.length);
  EXPECT_LE(std::abs(loss / run_.losses[0] - 1), 5e-3);
}

std::string name_of_family(const testing::TestParamInfo<ModelFamily>& info) {
  const char* names[] = {"Gpt2", "Llama", "Qwen2"};
  return names[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenParity,
                         testing::Values(ModelFamily::kGpt2, ModelFamily::kLlama,
                                         ModelFamily::kQwen2),
                         name_of_family);

}  // namespace
}  // namespace kente
