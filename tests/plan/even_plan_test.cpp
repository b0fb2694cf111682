#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"
#include "csrc/plan/flops.h"
#include "csrc/plan/mesh.h"
#include "csrc/plan/partition.h"
#include "csrc/plan/schedule.h"
#include "tests/plan/small_meshes.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Tries every cut; the slow truth.
double cheapest_dearest(const std::vector<double>& costs, size_t start, int parts) {
  const double all =
      std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(start), costs.end(), 0.0);
  if (parts == 1) return all;
  double best = all;
  double part = 0;
  for (size_t end = start + 1; end + static_cast<size_t>(parts) - 1 <= costs.size(); ++end) {
    part += costs[end - 1];
    best = std::min(best, std::max(part, cheapest_dearest(costs, end, parts - 1)));
  }
  return best;
}

TEST(SplitEvenly, FindsTheCutWithTheCheapestDearestPart) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<double> costs(4 + seed % 6);
    for (size_t i = 0; i < costs.size(); ++i) costs[i] = random_uniform(seed, RngUse::kTest, 0, i);
    for (int parts = 1; parts <= static_cast<int>(costs.size()); ++parts) {
      const std::vector<int> borders = split_evenly(costs, parts);
      ASSERT_EQ(borders.size(), static_cast<size_t>(parts) + 1);
      double dearest = 0;
      for (size_t p = 0; p + 1 < borders.size(); ++p) {
        ASSERT_LT(borders[p], borders[p + 1]);
        dearest = std::max(dearest, std::accumulate(costs.begin() + borders[p],
                                                    costs.begin() + borders[p + 1], 0.0));
      }
      EXPECT_NEAR(dearest, cheapest_dearest(costs, 0, parts), 1e-9);
    }
  }
}

TEST(Flops, HeadOfASmallModelCostsTwoToThreeBlocks) {
  ModelConfig model = small_recipe(ModelFamily::kGpt2).model;
  model.hidden_size = 256;
  model.intermediate_size = 1024;
  model.vocab_size = 8192;
  const std::vector<double> flops = forward_flops_per_token(model, 256);
  EXPECT_GT(flops.back(), 2 * flops[1]);
  EXPECT_LT(flops.back(), 3 * flops[1]);
}

TEST(EvenPlan, GivesTheStageWithTheHeadFewerBlocks) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.model.hidden_size = 256;
  recipe.model.intermediate_size = 1024;
  recipe.model.vocab_size = 8192;
  recipe.model.num_hidden_layers = 6;
  const Plan plan = even_plan(recipe, 2, 2);
  EXPECT_EQ(plan.replicas[0].stages[0].layers[0].last, 4);  // 4 blocks, then 2 and the head
}

TEST(EvenPlan, FitsEveryNumberOfRanks) {
  for (const int64_t grains : {1, 2, 3, 7, 16}) {
    for (int ranks = 1; ranks <= 24; ++ranks) {
      const Recipe recipe = recipe_with(4, grains, true);
      const Plan plan = even_plan(recipe, ranks);
      const Mesh mesh = make_mesh(recipe, plan, ranks);
      size_t used = 0;
      for (const MeshReplica& replica : mesh.replicas) used += replica.chunks.size();
      const auto most = static_cast<size_t>(6 * std::min<int64_t>(grains, std::max(1, ranks / 2)));
      EXPECT_EQ(used, std::min(static_cast<size_t>(ranks), most)) << ranks << ", " << grains;
      make_schedule(mesh, plan.schedule);
    }
  }
}

TEST(EvenPlan, PrefersPipelinesOfTwoAndOneOfThreeWhenOdd) {
  const Recipe recipe = recipe_with(4, 16, true);
  const auto lengths = [&](int ranks) {
    std::vector<size_t> stages;
    for (const ReplicaPlan& replica : even_plan(recipe, ranks).replicas)
      stages.push_back(replica.stages.size());
    return stages;
  };
  EXPECT_THAT(lengths(1), ElementsAre(1u));
  EXPECT_THAT(lengths(2), ElementsAre(2u));
  EXPECT_THAT(lengths(3), ElementsAre(3u));
  EXPECT_THAT(lengths(4), ElementsAre(2u, 2u));
  EXPECT_THAT(lengths(5), ElementsAre(3u, 2u));
}

TEST(EvenPlan, SharesFollowThePredictedSpeed) {
  const Recipe recipe = recipe_with(4, 100, true);
  const Plan plan = even_plan(recipe, 5);
  const std::vector<double> flops = forward_flops_per_token(recipe.model, recipe.sequence_length);
  std::vector<double> seconds;
  for (const ReplicaPlan& replica : plan.replicas) {
    double dearest = 0;
    for (const StagePlan& stage : replica.stages)
      dearest = std::max(dearest, std::accumulate(flops.begin() + stage.layers[0].first,
                                                  flops.begin() + stage.layers[0].last + 1, 0.0));
    seconds.push_back(dearest * static_cast<double>(replica.share));
  }
  EXPECT_NEAR(seconds[0] / seconds[1], 1, 0.05);  // one grain of 40
  EXPECT_GT(plan.replicas[0].share, plan.replicas[1].share);
}

TEST(EvenPlan, RunsGrainsSinglyInExactAndTogetherInFast) {
  Recipe recipe = recipe_with(4, 64, true);
  EXPECT_EQ(even_plan(recipe, 2, 2).replicas[0].grains_per_micro_batch, 1);
  recipe.numerics.reduction = Reduction::kFast;
  EXPECT_EQ(even_plan(recipe, 2, 2).replicas[0].grains_per_micro_batch, 8);
  EXPECT_EQ(even_plan(recipe, 1, 1).replicas[0].grains_per_micro_batch, 64);
}

TEST(EvenPlan, RefusesWhatCannotBe) {
  const Recipe recipe = recipe_with(4, 2, true);
  const auto refusal = [&](int ranks, int stages) -> std::string {
    try {
      even_plan(recipe, ranks, stages);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(refusal(3, 2), HasSubstr("3 ranks cannot form pipelines of 2"));
  EXPECT_THAT(refusal(7, 7), HasSubstr("more than the model's 6 layers"));
  EXPECT_THAT(refusal(3, 1), HasSubstr("3 replicas are more than the step's 2 grains"));
}

}  // namespace
}  // namespace kente
