#include "csrc/plan/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "tests/plan/small_meshes.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal_of(const Recipe& recipe, const Plan& plan, int ranks) {
  try {
    make_mesh(recipe, plan, ranks);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Mesh, MicroBatchesOfAllReplicasCoverEachGrainOnce) {
  for_small_meshes([](const Mesh& mesh, const std::string& name) {
    int64_t next = 0;
    for (const MeshReplica& replica : mesh.replicas) {
      ASSERT_FALSE(replica.micro_batches.empty()) << name;
      for (const MeshMicroBatch& batch : replica.micro_batches) {
        EXPECT_EQ(batch.first_grain, next) << name;
        next += batch.grains;
      }
    }
  });
}

TEST(Mesh, LastMicroBatchHoldsWhatIsLeft) {
  Plan plan = plan_from_borders({{0, 6}}, {16});
  plan.replicas[0].grains_per_micro_batch = 6;
  const Mesh mesh = make_mesh(small_recipe(ModelFamily::kGpt2), plan, 1);
  ASSERT_EQ(mesh.replicas[0].micro_batches.size(), 3u);
  EXPECT_EQ(mesh.replicas[0].micro_batches[2].first_grain, 12);
  EXPECT_EQ(mesh.replicas[0].micro_batches[2].grains, 4);
}

TEST(Mesh, EveryNonEmptyGroupIsInOneBucketWithExactlyItsHolders) {
  for (const bool tied : {true, false}) {
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      const std::vector<ParamGroup> layout = model_layout(recipe_with(5, 1, tied).model);
      if ((mesh.buckets.back().groups.back() == 7) != tied) return;  // the other kind of mesh
      std::vector<int> seen(layout.size(), 0);
      for (const Bucket& bucket : mesh.buckets) {
        for (const int group : bucket.groups) {
          ++seen[static_cast<size_t>(group)];
          std::vector<int> holders;
          for (int rank = 0; rank < mesh.num_ranks; ++rank) {
            bool holds = false;
            for (const int layer : mesh.layers_of(rank))
              for (const int user : layout[static_cast<size_t>(group)].layers)
                holds = holds || layer == user;
            if (holds) holders.push_back(rank);
          }
          EXPECT_EQ(bucket.holders, holders) << name << ", group " << group;
        }
      }
      for (const ParamGroup& group : layout)
        EXPECT_EQ(seen[static_cast<size_t>(group.index)], group.size > 0 ? 1 : 0) << name;
    });
  }
}

TEST(Mesh, BucketsAreMaximalDescendingAndEndWithTheTiedGroup) {
  // Replicas cut 0-2 | 3-5 and 0-3 | 4-5: layer 3 is held by ranks 1 and 2.
  const Plan plan = plan_from_borders({{0, 3, 6}, {0, 4, 6}}, {8, 8});
  const Mesh mesh = make_mesh(small_recipe(ModelFamily::kGpt2), plan, 5);
  ASSERT_EQ(mesh.buckets.size(), 4u);
  EXPECT_THAT(mesh.buckets[0].groups, ElementsAre(5, 4));
  EXPECT_THAT(mesh.buckets[0].holders, ElementsAre(1, 3));
  EXPECT_THAT(mesh.buckets[1].groups, ElementsAre(3));
  EXPECT_THAT(mesh.buckets[1].holders, ElementsAre(1, 2));
  EXPECT_THAT(mesh.buckets[2].groups, ElementsAre(2, 1, 0));
  EXPECT_THAT(mesh.buckets[2].holders, ElementsAre(0, 2));
  EXPECT_THAT(mesh.buckets[3].groups, ElementsAre(6));
  EXPECT_THAT(mesh.buckets[3].holders, ElementsAre(0, 1, 2, 3));
}

TEST(Mesh, RankWithBothUsesOfTheTiedGroupIsOneHolder) {
  const Plan plan = plan_from_borders({{0, 6}, {0, 3, 6}}, {8, 8});
  const Mesh mesh = make_mesh(small_recipe(ModelFamily::kLlama), plan, 3);
  EXPECT_THAT(mesh.buckets.back().groups, ElementsAre(6));
  EXPECT_THAT(mesh.buckets.back().holders, ElementsAre(0, 1, 2));
  // A llama's embedding layer owns nothing but the tied table.
  for (const Bucket& bucket : mesh.buckets)
    for (const int group : bucket.groups) EXPECT_NE(group, 0);
}

TEST(Mesh, NeighbouringRangesOfOneRankAreOneChunk) {
  Plan plan = plan_from_borders({{0, 2, 6}}, {16});
  plan.replicas[0].stages[1].layers = {{.first = 2, .last = 2}, {.first = 3, .last = 5}};
  const Mesh mesh = make_mesh(small_recipe(ModelFamily::kGpt2), plan, 2);
  ASSERT_EQ(mesh.replicas[0].chunks.size(), 2u);
  EXPECT_EQ(mesh.replicas[0].chunks[1].layers.last, 5);
}

TEST(Mesh, InterleavedRangesBecomeChunksInLayerOrder) {
  const Mesh mesh = make_mesh(recipe_with(6, 4, true), interleaved_plan(8, 2, 4, 4), 2);
  ASSERT_EQ(mesh.replicas[0].chunks.size(), 4u);
  EXPECT_THAT(mesh.chunks_of(0), ElementsAre(0, 2));
  EXPECT_THAT(mesh.chunks_of(1), ElementsAre(1, 3));
  EXPECT_THAT(mesh.layers_of(1), ElementsAre(2, 3, 6, 7));
}

TEST(Mesh, SparesHoldNothing) {
  const Mesh mesh =
      make_mesh(small_recipe(ModelFamily::kGpt2), plan_from_borders({{0, 6}}, {16}), 2);
  EXPECT_EQ(mesh.replica_of(1), -1);
  EXPECT_TRUE(mesh.layers_of(1).empty());
  EXPECT_FALSE(mesh.reads_data(1));
  EXPECT_TRUE(mesh.reads_data(0));
}

TEST(Mesh, RefusesPlansThatDoNotFitAndNamesThePlace) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  EXPECT_THAT(refusal_of(recipe, plan_from_borders({{0, 3, 6}}, {16}), 1),
              HasSubstr("replica 0, stage 1 names rank 1, but there are 1"));
  EXPECT_THAT(refusal_of(recipe, plan_from_borders({{0, 6}}, {15}), 1),
              HasSubstr("add up to 15 grains, the recipe's step has 16"));
  EXPECT_THAT(refusal_of(recipe, plan_from_borders({{0, 6}, {0, 6}}, {16, 0}), 2),
              HasSubstr("replica 1 has a share of 0"));
  EXPECT_THAT(refusal_of(recipe, plan_from_borders({{0, 5}}, {16}), 1),
              HasSubstr("ends with layer 4, the model with layer 5"));
  EXPECT_THAT(refusal_of(recipe, plan_from_borders({{1, 6}}, {16}), 1),
              HasSubstr("exactly one stage"));
  EXPECT_THAT(refusal_of(recipe, Plan{}, 1), HasSubstr("no replica"));
  Plan twice = plan_from_borders({{0, 3, 6}}, {16});
  twice.replicas[0].stages[1].ranks = {0};
  EXPECT_THAT(refusal_of(recipe, twice, 2), HasSubstr("rank 0, which has a stage already"));
}

}  // namespace
}  // namespace kente
