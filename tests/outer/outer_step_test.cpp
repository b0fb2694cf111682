#include "csrc/outer/outer_step.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "csrc/base/rng.h"

namespace kente {
namespace {

std::vector<float> normal(size_t count, double scale, uint64_t stream) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(scale * random_normal(1, RngUse::kTest, stream, i));
  return values;
}

TEST(OuterStep, WithRateOneAndNoMomentumTheWeightsAreTheMeanToTheBit) {
  // Differences far larger and far smaller than the weights.
  for (const double scale : {1e-6, 1.0, 1e6}) {
    std::vector<float> weights = normal(1000, 1, 1), momentum(1000);
    std::vector<float> mean = normal(1000, scale, 2);
    mean[7] = -0.0f;
    outer_step({.learning_rate = 1, .momentum = 0}, mean, momentum, weights);
    EXPECT_EQ(std::memcmp(weights.data(), mean.data(), 4000), 0);
  }
}

TEST(OuterStep, IsNesterovsMomentum) {
  std::vector<float> weights = {1.0f}, momentum = {0.5f};
  const std::vector<float> mean = {0.75f};
  outer_step({.learning_rate = 0.5, .momentum = 0.8}, mean, momentum, weights);
  EXPECT_FLOAT_EQ(momentum[0], 0.8f * 0.5f + 0.25f);
  EXPECT_FLOAT_EQ(weights[0], 1.0f - 0.5f * (0.25f + 0.8f * 0.65f));
}

}  // namespace
}  // namespace kente
