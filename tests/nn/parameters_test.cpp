#include "csrc/nn/parameters.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"
#include "tests/nn/tiny_model.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

ModelConfig small_model(ModelFamily family) { return small_recipe(family).model; }

TEST(Parameters, HoldExactlyTheGroupsTheirLayersUse) {
  const ModelConfig model = small_model(ModelFamily::kGpt2);  // layers 0 .. 5, tied group 6
  EXPECT_EQ(Parameters(model, {0}, DType::kF32).groups(), (std::vector<int>{0, 6}));
  EXPECT_EQ(Parameters(model, {2, 3}, DType::kF32).groups(), (std::vector<int>{2, 3}));
  EXPECT_EQ(Parameters(model, {5}, DType::kF32).groups(), (std::vector<int>{5, 6}));
  EXPECT_THROW(Parameters(model, {2}, DType::kF32).view("layers.0.norm1.weight"), InternalError);
}

TEST(Parameters, InitGivesEverySplitTheSameBits) {
  const ModelConfig model = small_model(ModelFamily::kQwen2);
  Parameters whole(model, all_layers(model), DType::kBF16);
  whole.init(11);
  for (const int layer : all_layers(model)) {
    Parameters part(model, {layer}, DType::kBF16);
    part.init(11);
    for (const int group : part.groups()) {
      EXPECT_TRUE(same_bits(part.master(group), whole.master(group))) << group;
      EXPECT_TRUE(same_bits(part.compute(group), whole.compute(group))) << group;
    }
  }
}

TEST(Parameters, InitDependsOnTheSeed) {
  const ModelConfig model = small_model(ModelFamily::kGpt2);
  Parameters a(model, {1}, DType::kF32);
  Parameters b(model, {1}, DType::kF32);
  a.init(1);
  b.init(2);
  EXPECT_FALSE(same_bits(a.master(1), b.master(1)));
}

TEST(Parameters, InitIsTheCounterBasedNormalRoundedOnce) {
  const ModelConfig model = small_model(ModelFamily::kGpt2);
  Parameters parameters(model, all_layers(model), DType::kF32);
  parameters.init(3);
  const double residual = 0.02 / std::sqrt(2.0 * 4);
  for (const int group : parameters.groups()) {
    for (const ParamSpec& spec : parameters.layout(group).params) {
      const float* values = parameters.master(group).const_data_ptr<float>() + spec.offset;
      for (const int64_t i : {int64_t{0}, spec.count / 2, spec.count - 1}) {
        double want = spec.init == InitKind::kOnes ? 1.0 : 0.0;
        if (spec.init == InitKind::kNormal || spec.init == InitKind::kResidual)
          want = (spec.init == InitKind::kResidual ? residual : 0.02) *
                 random_normal(3, RngUse::kInit, static_cast<uint64_t>(spec.init_stream),
                               static_cast<uint64_t>(i));
        EXPECT_EQ(values[i], static_cast<float>(want)) << spec.name << " " << i;
      }
    }
  }
}

TEST(Parameters, OnlyGpt2ShrinksResidualProjections) {
  const auto deviation = [](ModelFamily family) {
    const ModelConfig model = small_model(family);
    Parameters parameters(model, {1}, DType::kF32);
    parameters.init(1);
    double sum = 0;
    const std::vector<double> values = values_of(parameters.view("layers.0.attn.out.weight"));
    for (const double v : values) sum += v * v;
    return std::sqrt(sum / static_cast<double>(values.size()));
  };
  EXPECT_NEAR(deviation(ModelFamily::kGpt2), 0.02 / std::sqrt(8.0), 5e-4);
  EXPECT_NEAR(deviation(ModelFamily::kLlama), 0.02, 1.5e-3);
}

TEST(Parameters, PaddingIsZero) {
  const ModelConfig model = tiny_model(ModelFamily::kGpt2, true);
  Parameters parameters(model, all_layers(model), DType::kF32);
  parameters.init(1);
  for (const int group : parameters.groups()) {
    const std::vector<double> flat = values_of(parameters.master(group));
    std::vector<bool> used(flat.size());
    for (const ParamSpec& spec : parameters.layout(group).params)
      for (int64_t i = 0; i < spec.count; ++i) used[static_cast<size_t>(spec.offset + i)] = true;
    for (size_t i = 0; i < flat.size(); ++i)
      ASSERT_TRUE(used[i] || flat[i] == 0.0) << group << " " << i;
  }
}

TEST(Parameters, RefreshRoundsTheMasterIntoViewsMadeBefore) {
  const ModelConfig model = tiny_model(ModelFamily::kLlama, false);
  Parameters parameters(model, {1}, DType::kBF16);
  parameters.init(1);
  const at::Tensor before = parameters.view("layers.0.norm1.weight");
  parameters.master(1).fill_(1.00390625 + 1e-6);  // just above half way between two bf16
  EXPECT_EQ(values_of(before)[0], 1.0);
  parameters.refresh(1);
  EXPECT_EQ(values_of(before)[0], 1.0078125);
}

TEST(Parameters, InF32TheComputeCopyIsTheMaster) {
  const ModelConfig model = tiny_model(ModelFamily::kLlama, false);
  const Parameters parameters(model, {1}, DType::kF32);
  EXPECT_EQ(parameters.compute(1).const_data_ptr(), parameters.master(1).const_data_ptr());
}

}  // namespace
}  // namespace kente
