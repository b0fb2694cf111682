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

TEST(VectorF16, ReadsEveryValueLikeC10) {
  for (uint32_t first = 0; first < 0x10000; first += 16) {
    c10::Half values[16];
    for (uint32_t lane = 0; lane < 16; ++lane) values[lane].x = static_cast<uint16_t>(first + lane);
    const Vec<float> got = load(values, 16);
    for (uint32_t lane = 0; lane < 16; ++lane) {
      const auto want = static_cast<float>(values[lane]);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(got[lane])) << values[lane].x;
      } else {
        EXPECT_EQ(got[lane], want) << values[lane].x;
        EXPECT_EQ(std::signbit(got[lane]), std::signbit(want));
      }
    }
  }
}

TEST(VectorF16, RoundsToNearestEvenLikeC10) {
  std::vector<float> values = {
      0.0f,      -0.0f,        65504.0f,        65519.99f,
      65520.0f,  65536.0f,     -1e30f,          std::numeric_limits<float>::infinity(),
      0x1p-24f,  0x1p-25f,     0x1.000002p-25f, 0x1p-26f,
      0x1p-149f, 0x1.ffcp-15f, 0x1.ffep-15f};
  // Between every f16 and the next: as it is, just below half way, half way, just above.
  for (uint32_t high = 0; high < 0x7C00; high += 3)
    for (const uint32_t low : {0u, 1u, 0xFFFu, 0x1000u, 0x1001u, 0x1FFFu}) {
      c10::Half half;
      half.x = static_cast<uint16_t>(high);
      const auto at = static_cast<float>(half);
      uint32_t bits = 0;
      std::memcpy(&bits, &at, 4);
      bits += low;
      float value = 0;
      std::memcpy(&value, &bits, 4);
      values.push_back(value);
      values.push_back(-value);
    }
  while (values.size() % 16 != 0) values.push_back(1);
  for (size_t i = 0; i < values.size(); i += 16) {
    c10::Half got[16];
    store(got, load(values.data() + i, 16), 16);
    for (size_t lane = 0; lane < 16; ++lane)
      EXPECT_EQ(got[lane].x, c10::Half(values[i + lane]).x) << values[i + lane];
  }
}

TEST(VectorF16, KeepsNanANan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  c10::Half got[1];
  store(got, load(&nan, 1), 1);
  EXPECT_TRUE(std::isnan(static_cast<float>(got[0])));
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
