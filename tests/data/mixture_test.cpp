#include "csrc/data/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using testing::HasSubstr;

const std::vector<Mixture::Source> kThree = {{.id = "a", .weight = 3, .windows = 700},
                                             {.id = "b", .weight = 1, .windows = 100'000},
                                             {.id = "c", .weight = 0.5, .windows = 7}};

TEST(MixtureTest, QuotasFollowWeightsByLargestRemainder) {
  const Mixture mixture(1, kThree);
  // 4096 x 3/4.5 = 2730.67, 910.22, 455.11.
  EXPECT_EQ(mixture.quota(0), 2731);
  EXPECT_EQ(mixture.quota(1), 910);
  EXPECT_EQ(mixture.quota(2), 455);
}

TEST(MixtureTest, EveryPeriodHoldsTheQuotas) {
  const Mixture mixture(1, kThree);
  for (const int64_t period : {0, 1, 2, 1000}) {
    std::map<int, int64_t> count;
    for (int64_t i = 0; i < Mixture::kPeriod; ++i)
      ++count[mixture.locate(period * Mixture::kPeriod + i).source];
    for (int source = 0; source < 3; ++source)
      EXPECT_EQ(count[source], mixture.quota(source)) << period;
  }
}

// The slow obvious reference: walks the samples and counts each source's windows.
TEST(MixtureTest, EveryWindowComesOnceInAnEpochBeforeTheNextEpochBegins) {
  const Mixture mixture(7, kThree);
  std::map<int, int64_t> epoch;
  std::map<int, std::set<int64_t>> seen;
  for (int64_t sample = 0; sample < 10 * Mixture::kPeriod; ++sample) {
    const Mixture::Location at = mixture.locate(sample);
    const int64_t windows = kThree[static_cast<size_t>(at.source)].windows;
    if (static_cast<int64_t>(seen[at.source].size()) == windows) {
      seen[at.source].clear();
      ++epoch[at.source];
    }
    ASSERT_EQ(at.epoch, epoch[at.source]) << sample;
    ASSERT_TRUE(at.window >= 0 && at.window < windows);
    ASSERT_TRUE(seen[at.source].insert(at.window).second) << "window twice, sample " << sample;
  }
  EXPECT_GT(epoch[0], 30);
  EXPECT_GT(epoch[2], 600);
}

TEST(MixtureTest, OrderIsPureAndChangesWithSeedEpochAndPeriod) {
  const Mixture one(1, kThree), same(1, kThree), other(2, kThree);
  int64_t equal_to_other = 0, equal_to_next_period = 0;
  for (int64_t i = Mixture::kPeriod - 1; i >= 0; --i) {
    const auto a = one.locate(i), b = same.locate(i), c = other.locate(i);
    ASSERT_TRUE(a.source == b.source && a.epoch == b.epoch && a.window == b.window);
    equal_to_other += a.source == c.source && a.window == c.window;
    equal_to_next_period += a.source == one.locate(i + Mixture::kPeriod).source;
  }
  EXPECT_LT(equal_to_other, Mixture::kPeriod / 20);
  EXPECT_LT(equal_to_next_period, Mixture::kPeriod * 3 / 4);
}

TEST(MixtureTest, OneSourceIsReadEpochByEpoch) {
  const Mixture mixture(1, {{.id = "a", .weight = 5, .windows = 10}});
  std::vector<int64_t> first, second;
  for (int64_t i = 0; i < 20; ++i) {
    const auto at = mixture.locate(i);
    EXPECT_EQ(at.epoch, i / 10);
    (i < 10 ? first : second).push_back(at.window);
  }
  EXPECT_NE(first, second) << "each epoch is shuffled anew";
  EXPECT_THAT(first, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_THAT(second, testing::UnorderedElementsAreArray(first));
}

TEST(MixtureTest, SamplesFarOutAreLocated) {
  const Mixture mixture(1, kThree);
  const auto at = mixture.locate((int64_t{1} << 62) + 12345);
  EXPECT_TRUE(at.window >= 0 && at.epoch > 0);
}

TEST(MixtureTest, TinyWeightsAndTextsAreRefused) {
  const auto refusal = [](const std::vector<Mixture::Source>& sources) -> std::string {
    try {
      const Mixture mixture(1, sources);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(
      refusal({{.id = "a", .weight = 1, .windows = 9}, {.id = "b", .weight = 1e-5, .windows = 9}}),
      HasSubstr("source \"b\" has too small a weight"));
  EXPECT_THAT(refusal({{.id = "a", .weight = 1, .windows = 0}}),
              HasSubstr("source \"a\" has less text than one sample"));
}

}  // namespace
}  // namespace kente
