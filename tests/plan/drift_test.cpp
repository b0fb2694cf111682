#include "csrc/plan/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/made_up_cluster.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;

class DriftTest : public testing::Test {
 protected:
  DriftTest() {
    recipe_.numerics.reduction = Reduction::kFast;
    cluster_ = made_up_cluster(recipe_, {.speeds = {1, 2, 1, 2}});
    // Replica 0: blocks 1-2 on rank 0, the rest on rank 1; replica 1 alike on ranks 2 and 3.
    plan_ = plan_from_borders({{0, 3, 6}, {0, 3, 6}}, {8, 8});
  }

  /// What steps on a machine like truth measure.
  StepMeasurement measure(const ClusterProfile& truth) const {
    const PlanCost cost = predict(CostModel(recipe_, truth), plan_);
    StepMeasurement measured;
    measured.step_seconds = cost.step_seconds;
    for (size_t rank = 0; rank < cost.ranks.size(); ++rank) {
      RankMeasurement& mine = measured.ranks.emplace_back();
      mine.phases = cost.ranks[rank];
      const int neighbour = rank % 2 == 0 ? static_cast<int>(rank) + 1 : static_cast<int>(rank) - 1;
      double waited = 0;
      for (const TimelineEntry& entry : cost.timeline)
        if (entry.rank == static_cast<int>(rank) && entry.action.peer == neighbour &&
            (entry.action.kind == ActionKind::kRecvActivation ||
             entry.action.kind == ActionKind::kRecvGradient))
          waited += entry.end - entry.begin;
      mine.waited_for = {{neighbour, waited}};
      mine.end_wait = end_wait(cost, static_cast<int>(rank));
    }
    return measured;
  }

  /// From the rank's first collective to the moment at which all of them may step.
  static double end_wait(const PlanCost& cost, int rank) {
    double optimizer = 0, begin = -1;
    for (const PhaseSeconds& phases : cost.ranks) optimizer = std::max(optimizer, phases.optimizer);
    for (const TimelineEntry& entry : cost.timeline)
      if (entry.rank == rank && begin < 0 &&
          (entry.action.kind == ActionKind::kReduceBucket ||
           entry.action.kind == ActionKind::kStep))
        begin = entry.begin;
    return cost.step_seconds - optimizer - begin;
  }

  static void slow_down(DeviceProfile& device, double factor) {
    for (LayerCurve& curve : device.curves)
      for (LayerSeconds& at : curve.at) {
        at.forward *= factor;
        at.loss *= factor;
        at.backward_input *= factor;
        at.backward_weight *= factor;
      }
  }

  Recipe recipe_ = small_recipe(ModelFamily::kGpt2);
  ClusterProfile cluster_;
  Plan plan_;
};

TEST_F(DriftTest, NoneWhereThePredictionCameTrue) {
  const CostModel model(recipe_, cluster_);
  EXPECT_FALSE(find_drift(model, plan_, measure(cluster_)));
  ClusterProfile truth = cluster_;
  for (DeviceProfile& device : truth.devices) slow_down(device, 1.05);
  EXPECT_FALSE(find_drift(model, plan_, measure(truth)));
}

/// Each rank in turn, doubled in the profile: too slow there, so the step is faster than predicted.
TEST_F(DriftTest, AMisSetProfileNamesItsRank) {
  const StepMeasurement measured = measure(cluster_);
  for (int rank = 0; rank < 4; ++rank) {
    ClusterProfile wrong = cluster_;
    slow_down(wrong.devices[static_cast<size_t>(rank)], 2);
    const auto drift = find_drift(CostModel(recipe_, wrong), plan_, measured);
    ASSERT_TRUE(drift) << rank;
    EXPECT_EQ(drift->rank, rank);
    EXPECT_NEAR(drift->factor, 0.5, 0.01);
    EXPECT_THAT(drift->message, HasSubstr("rank " + std::to_string(rank) + " (d"));
  }
}

TEST_F(DriftTest, ARankThatSlowedDownIsNamedWithItsPhase) {
  ClusterProfile truth = cluster_;
  for (LayerCurve& curve : truth.devices[2].curves)
    for (LayerSeconds& at : curve.at) at.backward_weight *= 3;
  const auto drift = find_drift(CostModel(recipe_, cluster_), plan_, measure(truth));
  ASSERT_TRUE(drift);
  EXPECT_EQ(drift->rank, 2);
  EXPECT_EQ(drift->phase, "backward_weight");
  EXPECT_NEAR(drift->factor, 3, 0.01);
}

/// The step stays as it was, since it waits for rank 0; a little jitter there must not be blamed.
TEST_F(DriftTest, ARankThatBecameFasterThanTheSlowestNeedsIsNamed) {
  ClusterProfile truth = cluster_;
  slow_down(truth.devices[1], 0.25);
  slow_down(truth.devices[0], 1.005);
  const auto drift = find_drift(CostModel(recipe_, cluster_), plan_, measure(truth));
  ASSERT_TRUE(drift);
  EXPECT_NEAR(drift->measured_seconds / drift->predicted_seconds, 1, 0.1);
  EXPECT_EQ(drift->rank, 1);
  EXPECT_NEAR(drift->factor, 0.25, 0.01);
}

TEST_F(DriftTest, ASlowLinkIsNamedByItsTwoEnds) {
  ClusterProfile truth = cluster_;
  for (LinkProfile& link : truth.links)
    if (link.from == "d2" && link.to == "d3") link.latency_seconds = 0.1;
  const auto drift = find_drift(CostModel(recipe_, cluster_), plan_, measure(truth));
  ASSERT_TRUE(drift);
  EXPECT_EQ(drift->phase, "link");
  EXPECT_EQ(std::minmax(drift->rank, drift->peer), std::minmax(2, 3));
}

TEST_F(DriftTest, SlowReductionsAreNamed) {
  ClusterProfile truth = cluster_;
  for (LinkProfile& link : truth.links) link.reduce_bytes_per_second = 1e5;
  StepMeasurement measured = measure(truth);
  const auto drift = find_drift(CostModel(recipe_, cluster_), plan_, measured);
  ASSERT_TRUE(drift);
  EXPECT_EQ(drift->phase, "reduce");
}

TEST_F(DriftTest, TheCorrectedProfilePredictsWhatWasMeasured) {
  ClusterProfile truth = cluster_;
  slow_down(truth.devices[1], 1.7);
  slow_down(truth.devices[2], 0.8);
  truth.devices[3].optimizer_seconds_per_parameter *= 5;
  const CostModel model(recipe_, cluster_);
  const StepMeasurement measured = measure(truth);
  const ClusterProfile corrected = corrected_profile(model, plan_, measured);
  const double predicted = predict(CostModel(recipe_, corrected), plan_).step_seconds;
  EXPECT_NEAR(predicted, measured.step_seconds, 1e-6 * predicted);
  EXPECT_FALSE(find_drift(CostModel(recipe_, corrected), plan_, measured));
}

}  // namespace
}  // namespace kente
