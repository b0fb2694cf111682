#include "csrc/plan/block_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "csrc/base/rng.h"

namespace kente {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// Every way to place the blocks from this stage on.
void for_every_split(std::vector<int>& split, size_t stages, int left,
                     const std::function<void()>& visit) {
  if (split.size() == stages) {
    if (left == 0) visit();
    return;
  }
  for (int own = 0; own <= left; ++own) {
    split.push_back(own);
    for_every_split(split, stages, left - own, visit);
    split.pop_back();
  }
}

double value_of(const std::vector<std::vector<double>>& seconds, const std::vector<int>& split,
                double micro_batches) {
  double sum = 0, dearest = 0;
  for (size_t i = 0; i < split.size(); ++i) {
    sum += seconds[i][static_cast<size_t>(split[i])];
    dearest = std::max(dearest, seconds[i][static_cast<size_t>(split[i])]);
  }
  return sum + (micro_batches - 1) * dearest;
}

TEST(BlockSplit, IsTheBestOfAllSplits) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const auto draw = [&](uint64_t i) { return random_uniform(seed, RngUse::kTest, 1, i); };
    const size_t stages = 1 + static_cast<size_t>(draw(0) * 4);
    const int blocks = 1 + static_cast<int>(draw(1) * 7);
    const double micro_batches = 1 + static_cast<double>(static_cast<int>(draw(2) * 9));
    std::vector<std::vector<double>> seconds(stages);
    for (size_t i = 0; i < stages; ++i)
      for (int n = 0; n <= blocks; ++n) {
        const bool never = (n == 0 && draw(3 + i) < 0.3) || n > 2 + draw(10 + i) * blocks;
        seconds[i].push_back(never ? kNever : 0.1 + draw(20 + i) + n * (0.2 + draw(30 + i)));
      }
    double least = kNever, least_dearest = kNever;
    std::vector<int> split;
    for_every_split(split, stages, blocks, [&] {
      least = std::min(least, value_of(seconds, split, micro_batches));
      double dearest = 0;
      for (size_t i = 0; i < stages; ++i)
        dearest = std::max(dearest, seconds[i][static_cast<size_t>(split[i])]);
      least_dearest = std::min(least_dearest, dearest);
    });
    EXPECT_EQ(least_bottleneck(seconds, blocks), least_dearest) << "seed " << seed;
    const auto found = split_blocks(seconds, blocks, micro_batches, 3);
    ASSERT_EQ(found.empty(), least == kNever) << "seed " << seed;
    if (found.empty()) continue;
    EXPECT_NEAR(value_of(seconds, found.front(), micro_batches), least, 1e-12) << "seed " << seed;
    for (size_t i = 1; i < found.size(); ++i)
      EXPECT_LE(value_of(seconds, found[i - 1], micro_batches),
                value_of(seconds, found[i], micro_batches));
  }
}

}  // namespace
}  // namespace kente
