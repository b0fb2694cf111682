#include "csrc/plan/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "csrc/base/rng.h"
#include "tests/plan/small_meshes.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::ElementsAre;
using Ranges = std::vector<ElementRange>;

constexpr int64_t kBlock = kBlockElements;

TEST(CutInProportion, CoversEveryElementOnceAtBlockBordersWithinOneBlockOfItsPart) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const auto draw = [&](uint64_t index, uint64_t count) {
      return static_cast<int64_t>(random_bits(seed, RngUse::kTest, 3, index) % count);
    };
    const int64_t elements = draw(0, 40) * kBlock;
    std::vector<int64_t> weights(static_cast<size_t>(1 + draw(1, 5)));
    for (size_t i = 0; i < weights.size(); ++i) {
      const bool none = draw(10 + i, 4) == 0;
      weights[i] = none ? 0 : draw(20 + i, seed % 2 == 0 ? 10 : kMaxOptimizerWeight + 1);
    }
    const Ranges ranges = cut_in_proportion(elements, weights);
    ASSERT_EQ(ranges.size(), weights.size());
    const int64_t sum = std::accumulate(weights.begin(), weights.end(), int64_t{0});
    int64_t next = 0;
    for (size_t i = 0; i < ranges.size(); ++i) {
      EXPECT_EQ(ranges[i].begin, next);
      EXPECT_GE(ranges[i].size(), 0);
      EXPECT_EQ(ranges[i].end % kBlock, 0);
      next = ranges[i].end;
      const double part = sum > 0 ? static_cast<double>(weights[i]) / static_cast<double>(sum)
                                  : 1.0 / static_cast<double>(weights.size());
      EXPECT_NEAR(static_cast<double>(ranges[i].size()), part * static_cast<double>(elements),
                  kBlock);
      if (sum > 0 && weights[i] == 0) {
        EXPECT_EQ(ranges[i].size(), 0);
      }
    }
    EXPECT_EQ(next, elements);
  }
}

TEST(CutInProportion, ThreeToOneAndNoWeightsAtAll) {
  EXPECT_THAT(cut_in_proportion(8 * kBlock, {3, 1}),
              ElementsAre(ElementRange{0, 6 * kBlock}, ElementRange{6 * kBlock, 8 * kBlock}));
  EXPECT_THAT(cut_in_proportion(8 * kBlock, {0, 0}),
              ElementsAre(ElementRange{0, 4 * kBlock}, ElementRange{4 * kBlock, 8 * kBlock}));
  EXPECT_THAT(cut_in_proportion(8 * kBlock, {0, 5}),
              ElementsAre(ElementRange{0, 0}, ElementRange{0, 8 * kBlock}));
  EXPECT_EQ(cut_in_proportion(8 * kBlock, {7, 3, 11}), cut_in_proportion(8 * kBlock, {7, 3, 11}));
}

TEST(OptimizerShards, EveryHolderKeepsAllUnlessThePlanShards) {
  const Recipe recipe = recipe_with(4, 16, true);
  const std::vector<ParamGroup> layout = model_layout(recipe.model);
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {10, 6});
  const Mesh whole = make_mesh(recipe, plan, 3);
  EXPECT_EQ(optimizer_shards_of(2, whole, layout)[1], (ElementRange{0, layout[1].size}));
  EXPECT_EQ(optimizer_shards_of(1, whole, layout)[1], ElementRange());  // not held

  plan.shard_optimizer = true;
  plan.replicas[1].stages[0].optimizer_weight = 1;
  const Mesh sharded = make_mesh(recipe, plan, 3);
  EXPECT_EQ(optimizer_shards_of(0, sharded, layout)[1], ElementRange());
  EXPECT_EQ(optimizer_shards_of(2, sharded, layout)[1], (ElementRange{0, layout[1].size}));
}

TEST(OptimizerShards, OfEveryGroupCoverItOnceOverAllRanksTiedTableIncluded) {
  const Recipe recipe = recipe_with(4, 16, true);
  const std::vector<ParamGroup> layout = model_layout(recipe.model);
  Plan plan = plan_from_borders({{0, 3, 6}, {0, 1, 5, 6}}, {10, 6});
  plan.shard_optimizer = true;
  int64_t weight = 0;
  for (ReplicaPlan& replica : plan.replicas)
    for (StagePlan& stage : replica.stages) stage.optimizer_weight = weight++;
  const Mesh mesh = make_mesh(recipe, plan, 6);  // rank 5 is a spare
  for (const ParamGroup& group : layout) {
    int64_t elements = 0;
    for (int rank = 0; rank < mesh.num_ranks; ++rank) {
      const ElementRange shard =
          optimizer_shards_of(rank, mesh, layout)[static_cast<size_t>(group.index)];
      if (shard.size() > 0) {
        EXPECT_EQ(shard.begin, elements) << group.index;
      }
      elements += shard.size();
    }
    EXPECT_EQ(elements, group.size) << group.index;
  }
}

}  // namespace
}  // namespace kente
