#include "csrc/nn/ops/fixed_point.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "csrc/base/rng.h"
#include "csrc/config/model_layout.h"

namespace kente {
namespace {

std::vector<float> normals(uint64_t stream, int64_t count, double scale) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>(
        scale * random_normal(1, RngUse::kTest, stream, static_cast<uint64_t>(i))));
  return values;
}

TEST(FixedPoint, TheOrderOfTheTermsDoesNotMatter) {
  constexpr int64_t kCount = 1027;  // a tail for every vector width
  constexpr int kTerms = 7;
  std::vector<uint64_t> forward(kCount), backward(kCount);
  for (int i = 0; i < kTerms; ++i) {
    const auto up = normals(static_cast<uint64_t>(i), kCount, 1e-3);
    const auto down = normals(static_cast<uint64_t>(kTerms - 1 - i), kCount, 1e-3);
    EXPECT_EQ(accumulate_fixed(up.data(), forward.data(), kCount, kTerms), 0);
    EXPECT_EQ(accumulate_fixed(down.data(), backward.data(), kCount, kTerms), 0);
  }
  EXPECT_EQ(forward, backward);
}

TEST(FixedPoint, ASumIsWithinHalfAStepPerTermOfTheTrueOne) {
  constexpr int64_t kCount = 100;
  std::vector<uint64_t> sum(kCount);
  std::vector<double> truth(kCount);
  for (uint64_t i = 0; i < 5; ++i) {
    const auto term = normals(i, kCount, 0.1);
    accumulate_fixed(term.data(), sum.data(), kCount, 5);
    for (size_t k = 0; k < truth.size(); ++k) truth[k] += static_cast<double>(term[k]);
  }
  for (size_t k = 0; k < truth.size(); ++k)
    EXPECT_NEAR(static_cast<double>(static_cast<int64_t>(sum[k])) / kGradientScale, truth[k],
                5 * 0.5 / kGradientScale);
}

TEST(FixedPoint, RoundsToTheNearestStepAndBack) {
  const std::vector<float> values = {0.0f,      1.0f,       -1.0f,    0x1p-50f,
                                     -0x1p-50f, 0x1.8p-50f, 0x1p-52f, 3.25f};
  std::vector<uint64_t> sum(values.size());
  accumulate_fixed(values.data(), sum.data(), static_cast<int64_t>(values.size()), 1);
  std::vector<float> back(values.size());
  fixed_to_float(sum.data(), back.data(), static_cast<int64_t>(values.size()));
  EXPECT_EQ(back,
            (std::vector<float>{0.0f, 1.0f, -1.0f, 0x1p-50f, -0x1p-50f, 0x1p-49f, 0.0f, 3.25f}));
}

TEST(FixedPoint, NotFiniteAndTooLargeTermsArePoisonAndNeverAdded) {
  const float infinity = std::numeric_limits<float>::infinity();
  // 2^62 / 4 terms / 2^50 = 1024 is the first value refused.
  const std::vector<float> values = {std::nanf(""), infinity, -infinity,
                                     1024.0f,       -1024.0f, 1023.9f};
  std::vector<uint64_t> sum(values.size());
  EXPECT_EQ(accumulate_fixed(values.data(), sum.data(), static_cast<int64_t>(values.size()), 4), 5);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(sum[i], 0u);
  EXPECT_NE(sum[5], 0u);
}

TEST(FixedNorm, IsTheNormAndAddsUpOverAnyCutAtBlocks) {
  constexpr int64_t kCount = 8 * kBlockElements;
  const auto values = normals(1, kCount, 1e-4);
  FixedNorm whole, parts;
  add_squares(values.data(), kCount, whole);
  for (int64_t block = 7; block >= 0; --block)
    add_squares(values.data() + block * kBlockElements, kBlockElements, parts);
  EXPECT_EQ(whole.whole, parts.whole);
  EXPECT_EQ(whole.high, parts.high);
  EXPECT_EQ(whole.low, parts.low);
  const double truth =
      std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
  EXPECT_NEAR(whole.root(), truth, 1e-6 * truth);
}

// Gradients that explode are what clipping is for: their norm must be right, too.
TEST(FixedNorm, IsRightForGradientsOfAnySize) {
  constexpr int64_t kBlocks = 256;
  for (const double size : {1e-12, 1e-6, 1.0, 100.0, 3000.0, 1e4, 3e4}) {
    std::vector<float> values = normals(7, kBlocks * kBlockElements, size);
    FixedNorm norm;
    add_squares(values.data(), kBlocks * kBlockElements, norm);
    double truth = 0;
    for (const float value : values) truth += static_cast<double>(value) * value;
    truth = std::sqrt(truth);
    // Of each block's sum less than 2^-80 is left out.
    EXPECT_NEAR(norm.root(), truth, 1e-12 * truth + kBlocks * 0x1p-80 / truth) << size;
    EXPECT_EQ(norm.poison, 0) << size;
  }
}

TEST(FixedNorm, ASumOfWholeNumbersIsExactFarBeyondOneBlocksLimit) {
  std::vector<float> values(kBlockElements, 32000.0f);
  FixedNorm norm;
  constexpr int64_t kTimes = 1000;
  for (int64_t i = 0; i < kTimes; ++i) add_squares(values.data(), kBlockElements, norm);
  EXPECT_EQ(norm.whole, kTimes * kBlockElements * 32000 * 32000);
  EXPECT_EQ(norm.high + norm.low + norm.poison, 0);
  EXPECT_EQ(norm.root(), std::sqrt(static_cast<double>(norm.whole)));
  values.assign(kBlockElements, 32768.0f);  // 2^40
  add_squares(values.data(), kBlockElements, norm);
  EXPECT_EQ(norm.poison, 1);
}

TEST(FixedNorm, CountsBlocksThatAreNotFiniteAsPoison) {
  std::vector<float> values(2 * kBlockElements, 1e-3f);
  values[5] = std::nanf("");
  FixedNorm norm;
  add_squares(values.data(), 2 * kBlockElements, norm);
  EXPECT_EQ(norm.poison, 1);
}

TEST(FixedLoss, ASumOfWhatFitsNeitherWrapsNorHidesWhatIsNotFinite) {
  constexpr int64_t kTerms = 1 << 10;
  constexpr double kMost = 0x1p20;  // 2^30 / 2^10
  FixedLoss sum;
  for (int64_t i = 0; i < kTerms; ++i) sum.add(kMost * (1 - 0x1p-40), kTerms);
  EXPECT_NEAR(sum.total(), 0x1p30, 1);
  const auto fits = [](double loss, int64_t terms) {
    FixedLoss one;
    one.add(loss, terms);
    EXPECT_EQ(one.poison == 0, one.total() == loss) << loss;
    return one.poison == 0;
  };
  EXPECT_TRUE(fits(0, kTerms));
  EXPECT_TRUE(fits(-kMost / 2, kTerms));
  EXPECT_FALSE(fits(kMost, kTerms));
  EXPECT_FALSE(fits(-kMost, kTerms));
  EXPECT_FALSE(fits(std::numeric_limits<double>::infinity(), 1));
  EXPECT_FALSE(fits(std::nan(""), 1));
}

}  // namespace
}  // namespace kente
