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

/// Whether a split is cut at every border, or with too few stages for that, only at borders.
bool is_cut_there(const std::vector<int>& split, int blocks, const std::vector<int>& borders) {
  std::vector<int> cuts;
  int placed = 0;
  for (size_t i = 0; i + 1 < split.size(); ++i) cuts.push_back(placed += split[i]);
  std::erase_if(cuts, [&](int cut) { return cut == 0 || cut == blocks; });
  const auto holds = [](const std::vector<int>& all, const std::vector<int>& some) {
    return std::includes(all.begin(), all.end(), some.begin(), some.end());
  };
  return split.size() <= borders.size() ? holds(borders, cuts) : holds(cuts, borders);
}

TEST(BlockSplit, IsCutWhereAnotherPipelineIsAndTheBestOfThose) {
  int found_some = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const auto draw = [&](uint64_t i) { return random_uniform(seed, RngUse::kTest, 2, i); };
    const size_t stages = 2 + static_cast<size_t>(draw(0) * 4);
    const int blocks = 5 + static_cast<int>(draw(1) * 4);
    std::vector<int> borders;
    for (int border = 1; border < blocks; ++border)
      if (draw(50 + static_cast<uint64_t>(border)) < 0.4) borders.push_back(border);
    if (borders.empty()) continue;
    std::vector<std::vector<double>> seconds(stages);
    for (size_t i = 0; i < stages; ++i)
      for (int n = 0; n <= blocks; ++n) {
        const bool idle = n == 0 && i > 0 && i + 1 < stages;
        seconds[i].push_back(idle ? kNever : 0.1 + draw(20 + i) + n * (0.2 + draw(30 + i)));
      }
    double least = kNever;
    std::vector<int> split;
    for_every_split(split, stages, blocks, [&] {
      if (is_cut_there(split, blocks, borders))
        least = std::min(least, value_of(seconds, split, 4));
    });
    const auto found = split_blocks(seconds, blocks, 4, 1, borders);
    ASSERT_EQ(found.empty(), least == kNever) << "seed " << seed;
    if (found.empty()) continue;
    ++found_some;
    EXPECT_TRUE(is_cut_there(found.front(), blocks, borders)) << "seed " << seed;
    EXPECT_NEAR(value_of(seconds, found.front(), 4), least, 1e-12) << "seed " << seed;
  }
  EXPECT_GT(found_some, 100);
}

}  // namespace
}  // namespace kente
