#include "csrc/measure/link_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

/// Samples of a link with a relative noise of up to 10 %, every seventh one ten times too slow.
std::vector<LinkSample> samples_of(double latency, double rate, const std::vector<int64_t>& sizes) {
  std::vector<LinkSample> samples;
  uint64_t draw = 0;
  for (const int64_t bytes : sizes)
    for (int i = 0; i < 21; ++i) {
      const double noise = 0.9 + 0.2 * random_uniform(1, RngUse::kTest, 5, draw++);
      const double seconds = (latency + static_cast<double>(bytes) / rate) * noise;
      samples.push_back({.bytes = bytes, .seconds = i % 7 == 0 ? 10 * seconds : seconds});
    }
  return samples;
}

const std::vector<int64_t> kSizes = {64, 4096, 32768, 262144, 1048576};

TEST(LinkFit, FindsLatencyAndBandwidthDespiteOutliers) {
  // Shared memory, 10 Gbit/s, 100 Mbit/s over a continent.
  for (const auto& [latency, rate] : {std::pair(2e-6, 1e10), {5e-5, 1.2e9}, {2.5e-2, 1.2e7}}) {
    const LinkFit fit = fit_link(samples_of(latency, rate, kSizes));
    EXPECT_NEAR(fit.latency_seconds / latency, 1, 0.05) << latency;
    EXPECT_NEAR(fit.bytes_per_second / rate, 1, 0.05) << rate;
  }
}

TEST(LinkFit, IsNeverNegativeOrEndless) {
  // Bigger messages that happened to be faster, and a latency that would be below 0.
  const LinkFit falls = fit_link({{64, 2e-3}, {1 << 20, 1e-3}});
  EXPECT_GE(falls.latency_seconds, 0);
  EXPECT_GT(falls.bytes_per_second, 0);
  EXPECT_LE(falls.bytes_per_second, 1.0001e13);
  const LinkFit below = fit_link({{1000, 1e-6}, {2000, 4e-6}});
  EXPECT_EQ(below.latency_seconds, 0);
  EXPECT_GT(below.bytes_per_second, 2.5e8);
  EXPECT_LT(below.bytes_per_second, 1e9);
}

TEST(LinkFit, WhereMostMessagesWereHeldUpTheFastestCount) {
  std::vector<LinkSample> samples;
  for (const int64_t bytes : kSizes)
    for (int i = 0; i < 9; ++i)
      samples.push_back(
          {.bytes = bytes,
           .seconds = i < 6 ? 4e-3 - 1e-9 * static_cast<double>(bytes)  // a core was taken away
                            : 1e-5 + static_cast<double>(bytes) / 1e9});
  const LinkFit fit = fit_link(samples);
  EXPECT_NEAR(fit.latency_seconds / 1e-5, 1, 0.05);
  EXPECT_NEAR(fit.bytes_per_second / 1e9, 1, 0.05);
}

/// A shaped link lets 64 KiB pass at once, as a bucket of tokens does.
TEST(LinkFit, ALinkThatLetsBurstsPassIsAsFastAsForLargeMessages) {
  std::vector<LinkSample> samples;
  for (const int64_t bytes : kSizes)
    for (int i = 0; i < 9; ++i)
      samples.push_back(
          {.bytes = bytes,
           .seconds = 1e-5 + static_cast<double>(bytes) / 1e9 +
                      static_cast<double>(std::max<int64_t>(0, bytes - 65536)) / 2.5e6});
  const LinkFit fit = fit_link(samples);
  EXPECT_NEAR(fit.bytes_per_second / 2.5e6, 1, 0.1);
  EXPECT_LT(fit.latency_seconds, 1e-3);
}

TEST(LinkFit, OneSizeIsNotEnough) {
  EXPECT_THROW(fit_link({{64, 1e-6}, {64, 2e-6}}), InternalError);
}

TEST(LinkFit, ABusyLinkIsNeverFasterThanTheIdleOne) {
  const LinkFit idle = {.latency_seconds = 1e-6, .bytes_per_second = 1e9};
  // Waits of a millisecond hide what the bytes cost.
  const LinkFit busy = fit_busy_link({{64, 1.1e-3}, {65536, 1.0e-3}, {4096, 1.1e-3}}, idle);
  EXPECT_EQ(busy.bytes_per_second, 1e9);
  EXPECT_NEAR(busy.latency_seconds, 1.1e-3, 1e-4);
  const LinkFit slow = fit_busy_link(samples_of(1e-4, 1e8, kSizes), idle);
  EXPECT_NEAR(slow.bytes_per_second / 1e8, 1, 0.05) << "what was measured, where it is slower";
}

TEST(Tournament, EveryPairMeetsOnceAndNobodyTwiceInARound) {
  for (int count = 1; count <= 17; ++count) {
    std::set<std::pair<int, int>> met;
    for (const auto& round : tournament(count)) {
      std::set<int> playing;
      for (const auto& [a, b] : round) {
        EXPECT_LT(a, b);
        EXPECT_TRUE(playing.insert(a).second && playing.insert(b).second) << count;
        EXPECT_TRUE(met.emplace(a, b).second) << count << ": " << a << ", " << b;
      }
    }
    EXPECT_EQ(static_cast<int>(met.size()), count * (count - 1) / 2);
    EXPECT_LE(static_cast<int>(tournament(count).size()), count) << "as few rounds as there can be";
  }
}

TEST(RingStepRate, TurnsTheCostModelsFormulaRound) {
  const double rate = 3e9, latency = 1e-5;
  const int ranks = 5;
  const int64_t bytes = 40 << 20;
  const double seconds = 2 * (ranks - 1) * (latency + static_cast<double>(bytes) / ranks / rate);
  EXPECT_NEAR(ring_step_rate(seconds, ranks, bytes, latency) / rate, 1, 1e-12);
  EXPECT_GT(ring_step_rate(1e-6, ranks, bytes, 1), 0) << "whatever the small messages said";
}

}  // namespace
}  // namespace kente
