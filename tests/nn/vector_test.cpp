#include "csrc/nn/ops/vector.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace kente {
namespace {

float exp_of(float x) {
  Vec<float> v = splat(x);
  return vec_exp(v)[0];
}

TEST(VectorExp, IsWithinTwoUnitsInTheLastPlace) {
  for (int i = -8700; i <= 8800; ++i) {
    const float x = static_cast<float>(i) * 0.01f;
    const double want = std::exp(static_cast<double>(x));
    const double unit = want * 0x1p-23;
    EXPECT_NEAR(static_cast<double>(exp_of(x)), want, 2 * unit) << x;
  }
}

TEST(VectorExp, IsZeroFarBelowFiniteFarAboveAndKeepsNan) {
  EXPECT_EQ(exp_of(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp_of(-1e30f), 0.0f);
  EXPECT_EQ(exp_of(0.0f), 1.0f);
  EXPECT_TRUE(std::isfinite(exp_of(1e30f)));
  EXPECT_TRUE(std::isnan(exp_of(std::numeric_limits<float>::quiet_NaN())));
}

TEST(VectorBf16, RoundsToNearestEvenLikeC10) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; high += 37)
    for (const uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const uint32_t bits = (high << 16) | low;
      float value = 0;
      std::memcpy(&value, &bits, 4);
      if (!std::isnan(value)) values.push_back(value);
    }
  for (size_t i = 0; i + 16 <= values.size(); i += 16) {
    c10::BFloat16 got[16];
    store(got, load(values.data() + i, 16), 16);
    for (size_t lane = 0; lane < 16; ++lane)
      EXPECT_EQ(got[lane].x, c10::BFloat16(values[i + lane]).x) << values[i + lane];
  }
}

TEST(VectorBf16, KeepsNanANan) {
  const float nans[2] = {std::numeric_limits<float>::quiet_NaN(),
                         std::numeric_limits<float>::signaling_NaN()};
  c10::BFloat16 got[2];
  store(got, load(nans, 2), 2);
  EXPECT_TRUE(std::isnan(static_cast<float>(got[0])));
  EXPECT_TRUE(std::isnan(static_cast<float>(got[1])));
}

TEST(VectorLoad, ReadsAndWritesOnlyCountElements) {
  const float from[3] = {1, 2, 3};
  float to[4] = {0, 0, 0, 9};
  const Vec<float> v = load(from, 3);
  EXPECT_EQ(v[3], 0.0f);
  store(to, v, 3);
  EXPECT_EQ(to[2], 3.0f);
  EXPECT_EQ(to[3], 9.0f);
}

}  // namespace
}  // namespace kente
