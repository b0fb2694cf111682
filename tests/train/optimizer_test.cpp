#include "csrc/train/optimizer.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/small_recipes.h"

namespace kente {
namespace {

TEST(LearningRate, WarmsUpFromZeroThenFollowsEachScheduleDownToItsFloor) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.steps = 100;
  recipe.optimizer.learning_rate = 1.0;
  recipe.lr = {
      .kind = LrSchedule::kCosine, .warmup_steps = 10, .decay_steps = 20, .min_ratio = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 1), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 10), 1.0);
  EXPECT_NEAR(learning_rate(recipe, 55), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
  recipe.lr.kind = LrSchedule::kLinear;
  EXPECT_NEAR(learning_rate(recipe, 55), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
  recipe.lr.kind = LrSchedule::kWsd;
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 80), 1.0);
  EXPECT_NEAR(learning_rate(recipe, 90), 0.55, 1e-12);
  EXPECT_NEAR(learning_rate(recipe, 100), 0.1, 1e-12);
  recipe.lr.kind = LrSchedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate(recipe, 100), 1.0);
}

TEST(AdamW, FollowsTheFormulaInDoubleAndDecaysMatricesOnly) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  Parameters parameters(recipe.model, {1}, DType::kF32);
  parameters.init(3);
  AdamW optimizer(recipe.optimizer, parameters);
  const ParamGroup& layout = parameters.layout(1);
  const at::Tensor before = parameters.master(1).clone();
  const double lr = 0.01, factor = 0.5;
  const at::Tensor gradient = at::full({layout.size}, 0.2, at::kFloat);
  for (int64_t step = 1; step <= 3; ++step)
    optimizer.update(1, gradient, static_cast<float>(factor), lr, step);
  const OptimizerConfig& config = recipe.optimizer;
  for (const ParamSpec& spec : layout.params) {
    double p = static_cast<double>(before.data_ptr<float>()[spec.offset]);
    double m = 0, v = 0;
    for (int step = 1; step <= 3; ++step) {
      const double g = 0.2 * factor;
      m = config.beta1 * m + (1 - config.beta1) * g;
      v = config.beta2 * v + (1 - config.beta2) * g * g;
      if (spec.decay) p *= 1 - lr * config.weight_decay;
      p -= lr * (m / (1 - std::pow(config.beta1, step))) /
           (std::sqrt(v / (1 - std::pow(config.beta2, step))) + config.epsilon);
    }
    EXPECT_NEAR(static_cast<double>(parameters.master(1).data_ptr<float>()[spec.offset]), p, 1e-6)
        << spec.name;
  }
}

TEST(AdamW, UpdatesItsShardOnlyWithTheBitsOfTheWhole) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  Parameters whole(recipe.model, {1}, DType::kF32), part(recipe.model, {1}, DType::kF32);
  whole.init(3);
  part.init(3);
  const int64_t size = whole.layout(1).size;
  const at::Tensor before = part.master(1).clone();
  const ElementRange shard{.begin = 2 * kBlockElements, .end = size - 3 * kBlockElements};
  AdamW all(recipe.optimizer, whole), own(recipe.optimizer, part, {{}, shard});
  EXPECT_EQ(own.exp_avg(1).numel(), shard.size());
  EXPECT_EQ(own.exp_avg_sq(1).numel(), shard.size());
  for (int64_t step = 1; step <= 3; ++step) {
    const at::Tensor gradient = whole.master(1).clone();
    all.update(1, gradient, 0.25f, 0.01, step);
    own.update(1, gradient, 0.25f, 0.01, step);
  }
  const auto outside_and_inside = [&](const at::Tensor& outside) {
    at::Tensor expected = outside.clone();
    expected.narrow(0, shard.begin, shard.size())
        .copy_(whole.master(1).narrow(0, shard.begin, shard.size()));
    return expected;
  };
  EXPECT_TRUE(part.master(1).equal(outside_and_inside(before)));
  EXPECT_FALSE(part.master(1).equal(before));
  EXPECT_TRUE(own.exp_avg(1).equal(all.exp_avg(1).narrow(0, shard.begin, shard.size())));
  EXPECT_TRUE(own.exp_avg_sq(1).equal(all.exp_avg_sq(1).narrow(0, shard.begin, shard.size())));
}

}  // namespace
}  // namespace kente
