#include "csrc/plan/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "csrc/base/rng.h"
#include "tests/plan/small_meshes.h"

namespace kente {
namespace {

using testing::HasSubstr;

constexpr double kRounding = 1e-9;  // sums of a few hundred numbers of size 1

size_t find(const ActionList& list, const std::string& name) {
  for (size_t i = 0; i < list.size(); ++i)
    if (to_string(list[i]) == name) return i;
  ADD_FAILURE() << "no " << name;
  return 0;
}

TEST(Simulate, UniformStagesTakeTheClosedFormula) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered}) {
      for (int p = 1; p <= 6; ++p) {
        for (int m = 1; m <= 12; ++m) {
          const Mesh mesh = pipeline(p, m);
          const Simulation run =
              simulate(mesh, make_schedule(mesh, kind), uniform_costs(1, 2, 0), mode);
          EXPECT_NEAR(run.seconds, (m + p - 1) * (1.0 + 2.0), kRounding)
              << "p " << p << ", m " << m;
          for (const double busy : run.busy) EXPECT_NEAR(busy, m * 3.0, kRounding);
        }
      }
    }
  }
}

TEST(Simulate, SendingTheGradientBeforeTheWeightsShortensTheBubble) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    for (int p = 2; p <= 5; ++p) {
      for (int m = p; m <= 12; ++m) {
        const Mesh mesh = pipeline(p, m);
        const Simulation run =
            simulate(mesh, make_schedule(mesh, kind), uniform_costs(1, 1, 1), SendMode::kBuffered);
        EXPECT_NEAR(run.seconds, m * 3.0 + (p - 1) * (1.0 + 1.0), kRounding)
            << "p " << p << ", m " << m;
      }
    }
  }
}

/// A stage's seconds a micro-batch, a third of them forward.
ActionCosts uneven_costs(const std::vector<double>& stage) {
  ActionCosts costs;
  costs.seconds = [&stage](int rank, const Action& action) {
    const double t = stage[static_cast<size_t>(rank)];
    if (action.kind == ActionKind::kForward) return t / 3;
    return action.kind == ActionKind::kBackwardInput ? t * 2 / 3 : 0;
  };
  return costs;
}

void for_uneven_stages(
    const std::function<void(const Mesh&, int m, const std::vector<double>& stage)>& check) {
  for (int p = 2; p <= 5; ++p) {
    for (int m = 1; m <= 9; ++m) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        std::vector<double> stage(static_cast<size_t>(p));
        for (size_t i = 0; i < stage.size(); ++i)
          stage[i] = 0.2 + random_uniform(seed, RngUse::kTest, 0, i);
        check(pipeline(p, m), m, stage);
      }
    }
  }
}

TEST(Simulate, UnevenStagesUnderGPipeTakeOnePassPlusTheSlowestForEachFurtherMicroBatch) {
  for_uneven_stages([](const Mesh& mesh, int m, const std::vector<double>& stage) {
    const double sum = std::accumulate(stage.begin(), stage.end(), 0.0);
    const double slowest = *std::max_element(stage.begin(), stage.end());
    for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered}) {
      const Simulation run =
          simulate(mesh, make_schedule(mesh, ScheduleKind::kGPipe), uneven_costs(stage), mode);
      EXPECT_NEAR(run.seconds, sum + (m - 1) * slowest, kRounding);
    }
  });
}

TEST(Simulate, UnevenStagesUnder1F1BTakeNoLongerThanIfAllWereTheSlowest) {
  for_uneven_stages([](const Mesh& mesh, int m, const std::vector<double>& stage) {
    const double slowest = *std::max_element(stage.begin(), stage.end());
    // A stage works on m micro-batches, after and before the earlier ones' share of one.
    double least = 0, before = 0;
    for (const double t : stage) {
      least = std::max(least, before + m * t);
      before += t;
    }
    for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered}) {
      const Simulation run =
          simulate(mesh, make_schedule(mesh, ScheduleKind::k1F1B), uneven_costs(stage), mode);
      EXPECT_GE(run.seconds, least - kRounding);
      const double stages = static_cast<double>(stage.size());
      EXPECT_LE(run.seconds, (m + stages - 1) * slowest + kRounding);
    }
  });
}

TEST(Simulate, PeakActivationsAreAllMicroBatchesInGPipeAndFewIn1F1B) {
  ActionCosts costs = uniform_costs(1, 1, 1);
  costs.kept_bytes = [](int, const Action& action) -> int64_t {
    return action.kind == ActionKind::kForward          ? 10
           : action.kind == ActionKind::kBackwardWeight ? -10
                                                        : 0;
  };
  const Mesh mesh = pipeline(4, 9);
  EXPECT_THAT(simulate(mesh, make_schedule(mesh, ScheduleKind::kGPipe), costs).peak_bytes,
              testing::ElementsAre(90, 90, 90, 90));
  EXPECT_THAT(simulate(mesh, make_schedule(mesh, ScheduleKind::k1F1B), costs).peak_bytes,
              testing::ElementsAre(40, 30, 20, 10));
}

TEST(Simulate, MessagesTakeTheirTransferTime) {
  const Mesh mesh = pipeline(2, 1);
  ActionCosts costs = uniform_costs(1, 2, 0);
  costs.transfer_seconds = [](int from, int, const Action&) { return from == 0 ? 0.5 : 0.25; };
  for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered})
    EXPECT_NEAR(simulate(mesh, make_schedule(mesh, ScheduleKind::k1F1B), costs, mode).seconds,
                6 + 0.5 + 0.25, kRounding);
}

TEST(Simulate, CollectivesWaitForTheLastHolderAndTakeTheLongest) {
  // Rank 1 computes five times as long; rank 2 is a spare that only joins the step.
  const Plan plan = [] {
    Plan both;
    for (int r = 0; r < 2; ++r) {
      Plan one = interleaved_plan(7, 1, 1, 1);
      one.replicas[0].stages[0].ranks = {r};
      both.replicas.push_back(one.replicas[0]);
    }
    return both;
  }();
  const Mesh mesh = make_mesh(recipe_with(5, 2, true), plan, 3);
  ASSERT_EQ(mesh.buckets.size(), 1u);
  ActionCosts costs;
  costs.seconds = [](int rank, const Action& action) {
    if (action.kind == ActionKind::kForward) return rank == 1 ? 5.0 : 1.0;
    if (action.kind == ActionKind::kReduceBucket) return rank == 0 ? 0.5 : 0.25;
    return action.kind == ActionKind::kStep ? 0.125 : 0.0;
  };
  const Simulation run = simulate(mesh, make_schedule(mesh, ScheduleKind::k1F1B), costs);
  EXPECT_NEAR(run.seconds, 5 + 0.5 + 0.125, kRounding);
  EXPECT_NEAR(run.busy[0], 1 + 0.5 + 0.125, kRounding);
  EXPECT_NEAR(run.busy[2], 0.125, kRounding);
}

TEST(Simulate, GathersWaitForTheLastHolderAndStandInOneOrder) {
  const Mesh mesh = sharded(pipeline(2, 1));
  ASSERT_EQ(mesh.buckets.size(), 3u);  // rank 1, rank 0, and the tied table on both
  std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::k1F1B);
  ActionCosts costs;
  costs.seconds = [](int rank, const Action& action) {
    if (action.kind != ActionKind::kGatherParameters) return 0.0;
    return action.bucket == 2 ? 0.5 : rank + 1.0;
  };
  const Simulation run = simulate(mesh, lists, costs);
  EXPECT_NEAR(run.seconds, 2 + 0.5, kRounding);
  EXPECT_NEAR(run.busy[0], 1 + 0.5, kRounding);
  const Simulation again = simulate(mesh, lists, measured_costs(run.timeline));
  EXPECT_NEAR(again.seconds, run.seconds, kRounding);

  lists[0].back().bucket = 1;
  EXPECT_THAT(simulate(mesh, lists, {}).deadlock, HasSubstr("rank 1 waits at GP2"));
}

TEST(Simulate, NamesWhoWaitsForWhatWhenTwoRanksSendAtEachOther) {
  const Mesh mesh = pipeline(2, 2);
  std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::k1F1B);
  const size_t receive = find(lists[0], "RG0.0<1");
  const size_t send = find(lists[0], "SA1.0>1");
  std::swap(lists[0][receive], lists[0][send]);
  const Simulation run = simulate(mesh, lists, {});
  EXPECT_THAT(run.deadlock, HasSubstr("rank 0 waits at SA1.0>1"));
  EXPECT_THAT(run.deadlock, HasSubstr("rank 1 waits at SG0.1>0"));
  // A peer that buffers gets through: the mode is what makes it a proof.
  EXPECT_EQ(simulate(mesh, lists, {}, SendMode::kBuffered).deadlock, "");
}

TEST(Simulate, FindsALostMessageAndALateReceive) {
  const Mesh mesh = pipeline(3, 4);
  const std::vector<ActionList> good = make_schedule(mesh, ScheduleKind::kGPipe);
  std::vector<ActionList> lost = good;
  lost[1].erase(lost[1].begin() + static_cast<std::ptrdiff_t>(find(lost[1], "SA2.1>2")));
  std::vector<ActionList> swapped = good;
  std::swap(swapped[2][find(good[2], "RA0.2<1")], swapped[2][find(good[2], "RA1.2<1")]);
  for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered})
    EXPECT_THAT(simulate(mesh, lost, {}, mode).deadlock, HasSubstr("rank 2 waits at RA2.2<1"));
  EXPECT_THAT(simulate(mesh, swapped, {}).deadlock, HasSubstr("rank 1 waits at SA0.1>2"));
}

TEST(Simulate, FindsCollectivesIssuedInAnotherOrder) {
  const Plan plan = [] {
    Plan both = interleaved_plan(7, 2, 2, 1);
    ReplicaPlan second = both.replicas[0];
    for (StagePlan& stage : second.stages) stage.ranks[0] += 2;
    both.replicas.push_back(second);
    return both;
  }();
  const Mesh mesh = make_mesh(recipe_with(5, 2, true), plan, 4);
  std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::k1F1B);
  ASSERT_EQ(simulate(mesh, lists, {}).deadlock, "");
  ASSERT_EQ(mesh.buckets.size(), 3u);
  ActionList& list = lists[3];  // last stage of replica 1: AR0, AR2, S
  std::swap(list[list.size() - 3], list[list.size() - 2]);
  EXPECT_THAT(simulate(mesh, lists, {}).deadlock, HasSubstr("rank 3 waits at AR2"));
}

TEST(Simulate, MeasuredTimelineGivesBackItsOwnStepTime) {
  const Mesh mesh = pipeline(3, 5);
  ActionCosts noisy;
  noisy.seconds = [](int rank, const Action& action) {
    return action.kind == ActionKind::kStep
               ? 0.01
               : random_uniform(7, RngUse::kTest, static_cast<uint64_t>(rank),
                                static_cast<uint64_t>(action.micro_batch * 10) +
                                    static_cast<uint64_t>(action.kind));
  };
  const std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::k1F1B);
  const Simulation first = simulate(mesh, lists, noisy, SendMode::kBuffered);
  const Simulation again =
      simulate(mesh, lists, measured_costs(first.timeline), SendMode::kBuffered);
  // Step's duration is read off the rank that waited least, so its true 0.01 is found.
  EXPECT_NEAR(again.seconds, first.seconds, kRounding);
}

TEST(Simulate, TimelineOfARankHasNoGapsAndNoOverlap) {
  const Mesh mesh = pipeline(4, 6);
  const Simulation run =
      simulate(mesh, make_schedule(mesh, ScheduleKind::k1F1B), uniform_costs(1, 1, 1));
  std::vector<double> clock(4, 0);
  for (const TimelineEntry& entry : run.timeline) {
    EXPECT_EQ(entry.begin, clock[static_cast<size_t>(entry.rank)]);
    EXPECT_GE(entry.end, entry.begin);
    clock[static_cast<size_t>(entry.rank)] = entry.end;
  }
  EXPECT_EQ(*std::max_element(clock.begin(), clock.end()), run.seconds);
}

}  // namespace
}  // namespace kente
