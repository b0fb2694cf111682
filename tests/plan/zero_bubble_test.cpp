#include "csrc/plan/zero_bubble.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "csrc/base/rng.h"
#include "csrc/plan/simulate.h"
#include "tests/plan/small_meshes.h"

namespace kente {
namespace {

constexpr double kRounding = 1e-9;

/// A pipeline whose stages take what is said, and whose schedule is laid out from that.
Mesh timed_pipeline(const std::vector<PassTimes>& times, int micro_batches, int64_t under_way) {
  Mesh mesh = pipeline(static_cast<int>(times.size()), micro_batches);
  mesh.replicas.front().under_way = under_way;
  for (size_t i = 0; i < times.size(); ++i) mesh.replicas.front().chunks[i].times = times[i];
  return mesh;
}

/// What simulate() asks about, from the stages' times.
ActionCosts costs_of(const std::vector<PassTimes>& times) {
  ActionCosts costs;
  costs.seconds = [times](int rank, const Action& action) {
    const PassTimes& own = times[static_cast<size_t>(rank)];
    switch (action.kind) {
      case ActionKind::kForward:
        return static_cast<double>(own.forward);
      case ActionKind::kBackwardInput:
        return static_cast<double>(own.backward_input);
      case ActionKind::kBackwardWeight:
        return static_cast<double>(own.backward_weight);
      default:
        return 0.0;
    }
  };
  costs.transfer_seconds = [times](int from, int to, const Action&) {
    return static_cast<double>(times[static_cast<size_t>(std::min(from, to))].message);
  };
  return costs;
}

/// Of the step, as a runner that buffers what it sends would take.
double seconds_of_schedule(const std::vector<PassTimes>& times, int micro_batches,
                           ScheduleKind kind, int64_t under_way) {
  const Mesh mesh = timed_pipeline(times, micro_batches, under_way);
  const Simulation run =
      simulate(mesh, make_schedule(mesh, kind), costs_of(times), SendMode::kBuffered);
  EXPECT_EQ(run.deadlock, "");
  return run.seconds;
}

std::vector<PassTimes> random_times(size_t stages, uint64_t seed, int64_t most_message) {
  std::vector<PassTimes> times(stages);
  uint64_t next = 0;
  const auto draw = [&](int64_t least, int64_t most) {
    return least + static_cast<int64_t>(random_bits(seed, RngUse::kTest, 7, next++) %
                                        static_cast<uint64_t>(most - least + 1));
  };
  for (PassTimes& stage : times)
    stage = {.forward = draw(20, 100),
             .backward_input = draw(20, 100),
             .backward_weight = draw(20, 100),
             .message = draw(0, most_message)};
  return times;
}

/// Calls check for pipelines of 2 to 6 stages, 1 to 17 micro-batches, with messages and without.
void for_random_pipelines(const std::function<void(const std::vector<PassTimes>&, int micro_batches,
                                                   const std::string& name)>& check) {
  for (uint64_t seed = 0; seed < 400; ++seed)
    check(random_times(2 + seed % 5, seed, seed % 2 == 0 ? 0 : 30), 1 + static_cast<int>(seed % 17),
          "seed " + std::to_string(seed));
}

// (p - 1)(F + B - W), where 1F1B, which sends a gradient before it goes on to weights, has
// (p - 1)(F + B). Qi et al. 2023, table 2.
TEST(ZeroBubble, EvenStagesHaveTheBubbleOfZbH1) {
  for (int p = 1; p <= 8; ++p)
    for (int m = std::max(1, 2 * p - 2); m <= 20; ++m) {
      const std::vector<PassTimes> times(
          static_cast<size_t>(p),
          {.forward = 10, .backward_input = 10, .backward_weight = 10, .message = 0});
      EXPECT_NEAR(seconds_of_schedule(times, m, ScheduleKind::kZeroBubble, p),
                  m * 30 + (p - 1) * (10 + 10 - 10), kRounding)
          << "p " << p << ", m " << m;
    }
}

TEST(ZeroBubble, IsNeverSlowerThan1F1BAndOnAverageFarFasterWhateverStagesTake) {
  double few = 0, many = 0, one = 0;
  for_random_pipelines([&](const std::vector<PassTimes>& times, int m, const std::string& name) {
    const auto p = static_cast<int64_t>(times.size());
    const double reference = seconds_of_schedule(times, m, ScheduleKind::k1F1B, p);
    const double as_much = seconds_of_schedule(times, m, ScheduleKind::kZeroBubble, p);
    const double more = seconds_of_schedule(times, m, ScheduleKind::kZeroBubble, 2 * p - 1);
    EXPECT_LE(as_much, reference + kRounding) << name;
    EXPECT_LE(more, reference + kRounding) << name;
    few += as_much;
    many += more;
    one += reference;
  });
  EXPECT_LT(few, 0.96 * one);
  EXPECT_LT(many, 0.94 * one);
}

TEST(ZeroBubble, DoesEveryPassOnceInOrderAndKeepsNoMoreThanIsAllowed) {
  for_random_pipelines([](const std::vector<PassTimes>& times, int m, const std::string& name) {
    for (const int64_t under_way : {int64_t{1}, int64_t{2}, int64_t{5}}) {
      const auto passes = zero_bubble_passes(times, m, under_way);
      ASSERT_EQ(passes.size(), times.size()) << name;
      for (const std::vector<StagePass>& stage : passes) {
        int done[3] = {};
        for (const StagePass& pass : stage) {
          EXPECT_EQ(pass.micro_batch, done[pass.kind]++) << name;
          EXPECT_LE(done[StagePass::kBackwardInput], done[StagePass::kForward]) << name;
          EXPECT_LE(done[StagePass::kBackwardWeight], done[StagePass::kBackwardInput]) << name;
          EXPECT_LE(done[StagePass::kForward] - done[StagePass::kBackwardWeight], under_way)
              << name;
        }
        EXPECT_THAT(done, testing::Each(m)) << name;
      }
    }
  });
}

TEST(ZeroBubble, AStageThatWaitsFillsTheWaitWithWeights) {
  const std::vector<PassTimes> times(
      2, {.forward = 10, .backward_input = 10, .backward_weight = 10, .message = 0});
  using enum StagePass::Kind;
  EXPECT_EQ(zero_bubble_passes(times, 2, 2),
            (std::vector<std::vector<StagePass>>{{{kForward, 0},
                                                  {kForward, 1},
                                                  {kBackwardInput, 0},
                                                  {kBackwardWeight, 0},
                                                  {kBackwardInput, 1},
                                                  {kBackwardWeight, 1}},
                                                 {{kForward, 0},
                                                  {kBackwardInput, 0},
                                                  {kForward, 1},
                                                  {kBackwardInput, 1},
                                                  {kBackwardWeight, 0},
                                                  {kBackwardWeight, 1}}}));
}

TEST(ZeroBubble, AStageThatRestsForAForwardTakesABackwardThatComesFirst) {
  const PassTimes quick = {
      .forward = 10, .backward_input = 10, .backward_weight = 10, .message = 0};
  PassTimes slow = quick, thorough = quick;
  slow.forward = 500;
  thorough.backward_input = thorough.backward_weight = 200;
  using enum StagePass::Kind;
  EXPECT_EQ(zero_bubble_passes({slow, thorough, quick}, 2, 3).at(1),
            (std::vector<StagePass>{{kForward, 0},
                                    {kBackwardInput, 0},
                                    {kBackwardWeight, 0},
                                    {kForward, 1},
                                    {kBackwardInput, 1},
                                    {kBackwardWeight, 1}}));
}

// One message each way takes as long as a pass: with one micro-batch a stage a stage waits for
// every answer, with twice as many it never does.
TEST(ZeroBubble, MoreUnderWayHidesMessages) {
  const std::vector<PassTimes> times(
      2, {.forward = 10, .backward_input = 10, .backward_weight = 10, .message = 10});
  EXPECT_NEAR(seconds_of_schedule(times, 12, ScheduleKind::kZeroBubble, 3), 12 * 30 + 20,
              kRounding);
  EXPECT_GT(seconds_of_schedule(times, 12, ScheduleKind::kZeroBubble, 2), 12 * 30 + 50);
}

}  // namespace
}  // namespace kente
