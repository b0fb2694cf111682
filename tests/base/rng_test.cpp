#include "csrc/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using Words = std::array<uint32_t, 4>;

// Source of the known answers: Random123's kat_vectors file, philox 4x32 with 10 rounds.
TEST(Philox, GivesTheReferencesAnswers) {
  EXPECT_EQ(philox4x32({0, 0}, {0, 0, 0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0xa4093822, 0x299f31d0}, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomBits, DifferWhenAnyPartOfTheirNameDiffers) {
  const std::set<uint64_t> bits = {
      random_bits(1, RngUse::kTest, 0, 0),          random_bits(2, RngUse::kTest, 0, 0),
      random_bits(1, RngUse::kInit, 0, 0),          random_bits(1, RngUse::kTest, 1, 0),
      random_bits(1, RngUse::kTest, 0, 1),          random_bits(1ull << 40, RngUse::kTest, 0, 0),
      random_bits(1, RngUse::kTest, 1ull << 40, 0), random_bits(1, RngUse::kTest, 0, 1ull << 40)};
  EXPECT_EQ(bits.size(), 8u);
}

TEST(RandomBits, AreAPureFunction) {
  EXPECT_EQ(random_bits(5, RngUse::kShuffle, 6, 7), random_bits(5, RngUse::kShuffle, 6, 7));
}

// The bits decide initial weights and the sample order of every run there is: they may not change.
TEST(RandomBits, StayWhatTheyWereForAllVersions) {
  EXPECT_EQ(random_bits(1, RngUse::kInit, 2, 3), 0x24d43d60b87aa99full);
  EXPECT_EQ(random_permutation(1, RngUse::kShuffle, 2, 1000, 3), 140u);
}

TEST(RandomUniform, HasMeanAndVarianceOfTheUniformDistribution) {
  constexpr int kCount = 200'000;
  double sum = 0;
  double squares = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double u = random_uniform(1, RngUse::kTest, 0, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  const double mean = sum / kCount;
  // Five standard errors: sqrt(1/12/n) = 6.5e-4 for the mean, sqrt(1/180/n) = 1.7e-4 for the
  // variance.
  EXPECT_NEAR(mean, 0.5, 3.3e-3);
  EXPECT_NEAR(squares / kCount - mean * mean, 1.0 / 12, 8.5e-4);
}

TEST(RandomNormal, HasTheMomentsOfTheNormalDistribution) {
  constexpr int kCount = 200'000;
  double moments[5] = {};
  int beyond_two = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double x = random_normal(1, RngUse::kTest, 0, i);
    ASSERT_TRUE(std::isfinite(x));
    double power = 1;
    for (double& m : moments) {
      m += power / kCount;
      power *= x;
    }
    beyond_two += std::fabs(x) > 2 ? 1 : 0;
  }
  // Five standard errors of each sample moment: sqrt(1/n), sqrt(2/n), sqrt(15/n), sqrt(96/n).
  EXPECT_NEAR(moments[1], 0, 0.0112);
  EXPECT_NEAR(moments[2], 1, 0.0159);
  EXPECT_NEAR(moments[3], 0, 0.0434);
  EXPECT_NEAR(moments[4], 3, 0.11);
  EXPECT_NEAR(beyond_two / static_cast<double>(kCount), 0.0455, 0.0024);
}

TEST(RandomPermutation, IsABijectionForEverySize) {
  std::vector<uint64_t> counts = {1000, 1023, 1024, 1025, 4096, 65'535, 65'537};
  for (uint64_t count = 1; count <= 70; ++count) counts.push_back(count);
  for (const uint64_t count : counts) {
    std::vector<bool> hit(count);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t to = random_permutation(7, RngUse::kShuffle, 1, count, i);
      ASSERT_LT(to, count);
      ASSERT_FALSE(hit[to]) << "position " << to << " of " << count << " is hit twice";
      hit[to] = true;
    }
  }
}

TEST(RandomPermutation, StaysInRangeForSizesBeyond32Bits) {
  const uint64_t counts[] = {(1ull << 33) + 1, (1ull << 62) + 3, ~0ull};
  for (const uint64_t count : counts) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < 100; ++i) {
      const uint64_t to = random_permutation(7, RngUse::kShuffle, 1, count, count - 1 - i);
      EXPECT_LT(to, count);
      seen.insert(to);
    }
    EXPECT_EQ(seen.size(), 100u);
  }
}

TEST(RandomPermutation, LeavesFewItemsInPlaceAndFewNeighboursTogether) {
  constexpr uint64_t kCount = 10'000;
  int in_place = 0;
  int together = 0;
  uint64_t last = kCount;
  for (uint64_t i = 0; i < kCount; ++i) {
    const uint64_t to = random_permutation(3, RngUse::kShuffle, 0, kCount, i);
    in_place += to == i ? 1 : 0;
    together += to == last + 1 ? 1 : 0;
    last = to;
  }
  // Both counts are Poisson with mean 1 for a random permutation: 10 or more has probability 1e-7.
  EXPECT_LT(in_place, 10);
  EXPECT_LT(together, 10);
}

TEST(RandomPermutation, DiffersBetweenStreams) {
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same += random_permutation(3, RngUse::kShuffle, 0, 1000, i) ==
                    random_permutation(3, RngUse::kShuffle, 1, 1000, i)
                ? 1
                : 0;
  }
  EXPECT_LT(same, 10);
}

TEST(RandomPermutation, RefusesAnIndexOutsideTheDomain) {
  EXPECT_THROW(random_permutation(1, RngUse::kShuffle, 0, 10, 10), InternalError);
  EXPECT_THROW(random_permutation(1, RngUse::kShuffle, 0, 0, 0), InternalError);
}

}  // namespace
}  // namespace kente
