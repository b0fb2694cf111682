#include "csrc/plan/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "tests/support/made_up_cluster.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::DoubleNear;
using testing::HasSubstr;

constexpr DType kF32 = DType::kF32;

Recipe recipe() {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);  // 4 blocks, 16 grains
  recipe.numerics.reduction = Reduction::kFast;
  return recipe;
}

TEST(CostModel, InterpolatesBetweenMeasuredSizesAndGoesOnBeyond) {
  const Recipe r = recipe();
  const ClusterProfile cluster = made_up_cluster(r, {.speeds = {2}, .fixed_fraction = 0.5});
  const CostModel model(r, cluster);
  const auto block = [&](int64_t grains) {
    return model.layer_seconds(0, 1, kF32, ActionKind::kForward, grains);
  };
  EXPECT_DOUBLE_EQ(block(1), 0.005);
  EXPECT_DOUBLE_EQ(block(2), 0.0075);
  EXPECT_DOUBLE_EQ(block(3), 0.010);  // half way between 2 and 4
  EXPECT_DOUBLE_EQ(block(4), 0.0125);
  EXPECT_DOUBLE_EQ(block(6), 0.0175);
}

TEST(CostModel, DevicesComputeInTheFasterOfTheTypesThatTheRecipeAllows) {
  Recipe r = recipe();
  ClusterProfile cluster = made_up_cluster(r, {.speeds = {1, 1, 1}});
  Recipe halves = r;
  halves.numerics.compute = DType::kBF16;
  const ClusterProfile in_bf16 = made_up_cluster(halves, {.speeds = {2, 0.5, 1}});
  for (const size_t device : {0, 1})
    for (const LayerCurve& curve : in_bf16.devices[device].curves)
      cluster.devices[device].curves.push_back(curve);
  const auto types = [&] {
    const CostModel model(r, cluster);
    return std::vector<DType>{model.compute_of(0), model.compute_of(1), model.compute_of(2)};
  };
  EXPECT_THAT(types(), testing::ElementsAre(kF32, kF32, kF32)) << "no substitutes";
  r.numerics.substitutes = {DType::kBF16};
  EXPECT_THAT(types(), testing::ElementsAre(DType::kBF16, kF32, kF32));
  const CostModel model(r, cluster);
  EXPECT_NEAR(model.alone_grains_per_second(0) / model.alone_grains_per_second(1), 2, 0.2);
}

TEST(Predict, ATypeInWhichADeviceWasNotMeasuredIsNamed) {
  Recipe r = recipe();
  r.numerics.substitutes = {DType::kBF16};
  const ClusterProfile cluster = made_up_cluster(r, {.speeds = {1}});
  const CostModel model(r, cluster);
  Plan plan = plan_from_borders({{0, 6}}, {16});
  plan.replicas[0].stages[0].compute = DType::kBF16;
  try {
    predict(model, plan);
    FAIL() << "not refused";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("device d0 was not measured in bf16"));
  }
}

TEST(CostModel, RecomputeAddsAForwardToTheBlocksBackwardOnly) {
  const Recipe r = recipe();
  const ClusterProfile cluster = made_up_cluster(r, {.speeds = {1}});
  const CostModel model(r, cluster);
  const auto backward = [&](int layer, Recompute recompute) {
    return model.layer_seconds(0, layer, kF32, ActionKind::kBackwardInput, 1, recompute);
  };
  EXPECT_DOUBLE_EQ(backward(1, Recompute::kFull), 2 * backward(1, Recompute::kNone));
  EXPECT_DOUBLE_EQ(backward(5, Recompute::kFull), backward(5, Recompute::kNone));
}

TEST(CostModel, MessagesTakeLatencyAndBytesOverBandwidth) {
  const Recipe r = recipe();
  ClusterProfile cluster = made_up_cluster(r, {.latency_seconds = 1e-3, .bytes_per_second = 1e6});
  // 16 tokens of 32 floats, and with an activation the batch's int32 fields.
  const CostModel model(r, cluster);
  EXPECT_EQ(model.message_bytes(ActionKind::kSendGradient, 2), 2 * 16 * 32 * 4);
  EXPECT_GT(model.message_bytes(ActionKind::kSendActivation, 2), 2 * 16 * 32 * 4);
  EXPECT_DOUBLE_EQ(model.transfer_seconds(0, 1, 4096), 1e-3 + 4096e-6);
  cluster.links[0].busy_latency_seconds = 2e-3;
  cluster.links[0].busy_bytes_per_second = 5e5;
  const CostModel busy(r, cluster);
  EXPECT_DOUBLE_EQ(busy.transfer_seconds(1, 0, 4096), 2e-3 + 8192e-6);
}

TEST(CostModel, RingAllReduceMovesEachByteTwiceLessAPart) {
  const Recipe r = recipe();
  const ClusterProfile cluster =
      made_up_cluster(r, {.speeds = {1, 1, 1, 1}, .latency_seconds = 0, .bytes_per_second = 1e6});
  const CostModel model(r, cluster);
  EXPECT_DOUBLE_EQ(model.reduce_seconds(model.ring({0, 1, 2, 3}), 4'000'000), 2 * 3 * 1.0);
  EXPECT_DOUBLE_EQ(model.reduce_seconds(model.ring({0, 2}), 4'000'000), 2 * 1 * 2.0);
  EXPECT_DOUBLE_EQ(model.reduce_seconds(model.ring({2}), 4'000'000), 0);
}

/// One rank: no waiting, so the step is the plain sum of what it does.
TEST(Predict, OneRankIsTheSumOfItsParts) {
  const Recipe r = recipe();
  const ClusterProfile cluster = made_up_cluster(r, {.speeds = {1}});
  const CostModel model(r, cluster);
  const PlanCost cost = predict(model, even_plan(r, 1, 1));
  const double a_grain = 3 * 0.001 + 4 * 3 * 0.010 + 4 * 0.010;  // the head has a loss besides
  int64_t parameters = 0;
  for (const ParamGroup& group : model_layout(r.model)) parameters += group.size;
  EXPECT_NEAR(cost.step_seconds, 16 * a_grain + 1e-9 * static_cast<double>(parameters), 1e-9);
  EXPECT_NEAR(cost.bubble, 0, 1e-9);
  EXPECT_THAT(cost.bottleneck, HasSubstr("rank 0 (d0), busy 100 %"));
  EXPECT_TRUE(cost.overfull().empty());
}

TEST(Predict, TwoStagesWaitAsTheFormulaSays) {
  const Recipe r = recipe();
  // No time but the blocks': uniform stages of two blocks, F 2 x 0.01, B 4 x 0.01 a grain.
  const ClusterProfile cluster = made_up_cluster(r, {.embedding_seconds = 1e-12,
                                                     .head_seconds = 1e-12,
                                                     .latency_seconds = 0,
                                                     .bytes_per_second = 1e15,
                                                     .optimizer_seconds_per_parameter = 1e-15});
  Plan plan = plan_from_borders({{0, 3, 6}}, {16});
  const CostModel model(r, cluster);
  const PlanCost cost = predict(model, plan);
  // m (F + B) + (p - 1) (F + B - W): a gradient is sent before the weights' backward.
  EXPECT_NEAR(cost.step_seconds, 16 * 0.060 + 0.040, 1e-6);
  EXPECT_NEAR(cost.bubble, 0.040, 1e-6);
  for (const PhaseSeconds& phases : cost.ranks) {
    EXPECT_NEAR(phases.forward, 16 * 0.020, 1e-6);
    EXPECT_NEAR(phases.wait, 0.040, 1e-6);
  }
}

TEST(Predict, MemoryIsComparedWithWhatIsFree) {
  const Recipe r = recipe();
  ClusterProfile cluster = made_up_cluster(r, {});
  cluster.devices[1].memory_bytes = 1 << 20;
  const CostModel model(r, cluster);
  EXPECT_EQ(predict(model, plan_from_borders({{0, 3, 6}}, {16})).overfull(), std::vector<int>{1});
}

TEST(Predict, EnergyAndPriceOnlyWhereEveryUsedDeviceHasThem) {
  const Recipe r = recipe();
  ClusterProfile cluster = made_up_cluster(r, {});
  const Plan plan = plan_from_borders({{0, 6}}, {16});  // rank 1 is a spare
  EXPECT_FALSE(predict(CostModel(r, cluster), plan).joules);
  cluster.devices[0].busy_watts = 100;
  cluster.devices[0].idle_watts = 10;
  cluster.devices[0].price_per_hour = 3600;
  const PlanCost cost = predict(CostModel(r, cluster), plan);
  ASSERT_TRUE(cost.joules && cost.price);
  EXPECT_THAT(*cost.joules, DoubleNear(100 * cost.step_seconds, 1e-6));
  EXPECT_THAT(*cost.price, DoubleNear(cost.step_seconds, 1e-9));
}

}  // namespace
}  // namespace kente
