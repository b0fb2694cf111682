#include "csrc/plan/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "csrc/base/errors.h"
#include "csrc/plan/simulate.h"
#include "tests/plan/small_meshes.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;

constexpr ScheduleKind kAllKinds[] = {ScheduleKind::kGPipe, ScheduleKind::k1F1B,
                                      ScheduleKind::kZeroBubble};

std::string text_of(const ActionList& list) {
  std::string text;
  for (const Action& action : list) {
    if (!text.empty()) text += ' ';
    text += to_string(action);
  }
  return text;
}

/// Every micro-batch of every replica once on every chunk of the rank, in the order that its data
/// need.
void expect_complete(const Mesh& mesh, const std::vector<ActionList>& lists,
                     const std::string& name) {
  for (int rank = 0; rank < mesh.num_ranks; ++rank) {
    std::map<std::string, size_t> place;
    const ActionList& list = lists[static_cast<size_t>(rank)];
    for (size_t i = 0; i < list.size(); ++i)
      EXPECT_TRUE(place.emplace(to_string(list[i]), i).second)
          << name << ": rank " << rank << " does " << to_string(list[i]) << " twice";
    size_t expected = 1;  // the step
    const int r = mesh.replica_of(rank);
    for (const int chunk : mesh.chunks_of(rank)) {
      const MeshReplica& replica = mesh.replicas[static_cast<size_t>(r)];
      const bool head = static_cast<size_t>(chunk) + 1 == replica.chunks.size();
      for (size_t m = 0; m < replica.micro_batches.size(); ++m) {
        const auto at = [&](ActionKind kind) {
          Action action;
          action.kind = kind;
          action.chunk = chunk;
          action.micro_batch = static_cast<int>(m);
          const auto found = place.find(to_string(action));
          return found == place.end() ? list.size() : found->second;
        };
        EXPECT_LT(at(ActionKind::kForward), at(ActionKind::kBackwardInput)) << name;
        EXPECT_LT(at(ActionKind::kBackwardInput), at(ActionKind::kBackwardWeight)) << name;
        EXPECT_LT(at(ActionKind::kBackwardWeight), list.size()) << name;
        EXPECT_EQ(at(ActionKind::kLoss) < list.size(), head) << name;
        expected += 3 + (head ? 1 : 0) + (chunk > 0 ? 2 : 0) + (head ? 0 : 2);
      }
    }
    for (const Bucket& bucket : mesh.buckets)
      expected +=
          static_cast<size_t>(std::count(bucket.holders.begin(), bucket.holders.end(), rank));
    EXPECT_EQ(list.size(), expected) << name << ": rank " << rank << ": " << text_of(list);
    EXPECT_EQ(to_string(list.back()), "S") << name;
  }
}

TEST(Schedule, EveryMicroBatchGoesForwardAndBackwardOnceOnEachChunk) {
  for (const ScheduleKind kind : kAllKinds)
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      expect_complete(mesh, make_schedule(mesh, kind), name);
    });
}

TEST(Schedule, BlockingSendsWithoutBuffersNeverDeadlock) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::k1F1B})
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      const Simulation run = simulate(mesh, make_schedule(mesh, kind), uniform_costs(1, 1, 1));
      EXPECT_EQ(run.deadlock, "") << name;
    });
}

TEST(ScheduleZeroBubble, SendsThatAreBufferedNeverDeadlock) {
  for (const bool weights : {true, false})
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      const std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::kZeroBubble);
      const Simulation run =
          simulate(mesh, lists, uniform_costs(1, 5, weights ? 3 : 0), SendMode::kBuffered);
      EXPECT_EQ(run.deadlock, "") << name;
    });
}

TEST(ScheduleZeroBubble, SendsAtOnceAndReceivesAtTheLastMoment) {
  Mesh mesh = pipeline(2, 2);
  for (MeshChunk& chunk : mesh.replicas.front().chunks)
    chunk.times = {.forward = 1, .backward_input = 1, .backward_weight = 1, .message = 0};
  const std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::kZeroBubble);
  EXPECT_EQ(text_of(lists[0]),
            "F0.0 SA0.0>1 F1.0 SA1.0>1 RG0.0<1 BI0.0 BW0.0 RG1.0<1 BI1.0 BW1.0 AR1 AR2 S");
  EXPECT_EQ(text_of(lists[1]),
            "RA0.1<0 F0.1 L0.1 BI0.1 SG0.1>0 RA1.1<0 F1.1 L1.1 BI1.1 SG1.1>0 BW0.1 BW1.1 AR0 AR2 "
            "S");
}

TEST(Schedule, InterleavedGPipeNeverDeadlocksForAnyChunksOfAnyRanks) {
  for (int ranks = 2; ranks <= 4; ++ranks) {
    for (int chunks = ranks; chunks <= 8; ++chunks) {
      for (int m = 1; m <= 9; ++m) {
        const Mesh mesh =
            make_mesh(recipe_with(7, m, true), interleaved_plan(9, ranks, chunks, m), ranks);
        const std::string name = std::to_string(ranks) + " ranks, " + std::to_string(chunks) +
                                 " chunks, " + std::to_string(m) + " micro-batches";
        const std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::kGPipe);
        expect_complete(mesh, lists, name);
        EXPECT_EQ(simulate(mesh, lists, uniform_costs(1, 1, 1)).deadlock, "") << name;
      }
    }
  }
}

TEST(Schedule, ReplicasOneInterleavedOneNotNeverDeadlockInTheirCollectives) {
  for (int chunks = 3; chunks <= 6; ++chunks) {
    Plan plan = interleaved_plan(7, 2, chunks, 3);
    Plan other = plan_from_borders({{0, 1, 4, 6, 7}}, {5});
    for (StagePlan& stage : other.replicas[0].stages) stage.ranks[0] += 2;
    plan.replicas.push_back(other.replicas[0]);
    for (const bool tied : {true, false}) {
      const Mesh mesh = make_mesh(recipe_with(5, 8, tied), plan, 7);
      const std::vector<ActionList> lists = make_schedule(mesh, ScheduleKind::kGPipe);
      EXPECT_EQ(simulate(mesh, lists, uniform_costs(1, 2, 3)).deadlock, "") << chunks;
    }
  }
}

TEST(Schedule, AllRanksIssueCollectivesInOneOrderAfterTheirMessages) {
  for (const ScheduleKind kind : kAllKinds)
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      for (const ActionList& list : make_schedule(mesh, kind)) {
        int bucket = -1;
        for (const Action& action : list) {
          if (action.kind == ActionKind::kReduceBucket) {
            EXPECT_GT(action.bucket, bucket) << name;
            bucket = action.bucket;
          } else if (action.kind != ActionKind::kStep) {
            EXPECT_EQ(bucket, -1) << name << ": " << to_string(action) << " after a reduction";
          }
        }
      }
    });
}

TEST(Schedule, ShardedPlansGatherEachBucketOnceAfterTheStepAndNeverDeadlock) {
  for (const ScheduleKind kind : kAllKinds)
    for_small_meshes([&](const Mesh& mesh, const std::string& name) {
      const std::vector<ActionList> lists = make_schedule(sharded(mesh), kind);
      const std::vector<ActionList> whole = make_schedule(mesh, kind);
      for (size_t rank = 0; rank < lists.size(); ++rank) {
        ActionList expected = whole[rank];
        for (const Action& action : whole[rank]) {
          if (action.kind != ActionKind::kReduceBucket) continue;
          expected.push_back(action);
          expected.back().kind = ActionKind::kGatherParameters;
        }
        EXPECT_EQ(lists[rank], expected) << name << ": " << text_of(lists[rank]);
      }
      for (const SendMode mode : {SendMode::kRendezvous, SendMode::kBuffered})
        if (kind != ScheduleKind::kZeroBubble || mode == SendMode::kBuffered) {
          EXPECT_EQ(simulate(sharded(mesh), lists, uniform_costs(1, 1, 1), mode).deadlock, "")
              << name;
        }
    });
}

TEST(Schedule1F1B, HoldsAtMostOneMicroBatchPerLaterStage) {
  for (int p = 1; p <= 6; ++p) {
    for (int m = 1; m <= 12; ++m) {
      const std::vector<ActionList> lists = make_schedule(pipeline(p, m), ScheduleKind::k1F1B);
      for (int i = 0; i < p; ++i) {
        int held = 0, peak = 0;
        for (const Action& action : lists[static_cast<size_t>(i)]) {
          held += action.kind == ActionKind::kForward;
          held -= action.kind == ActionKind::kBackwardWeight;
          peak = std::max(peak, held);
        }
        EXPECT_EQ(peak, std::min(p - i, m)) << p << " stages, " << m << ", stage " << i;
      }
    }
  }
}

TEST(ScheduleGPipe, RunsAllForwardsThenAllBackwardsInReverse) {
  const std::vector<ActionList> lists = make_schedule(pipeline(2, 2), ScheduleKind::kGPipe);
  EXPECT_EQ(text_of(lists[0]),
            "F0.0 SA0.0>1 F1.0 SA1.0>1 RG1.0<1 BI1.0 BW1.0 RG0.0<1 BI0.0 BW0.0 AR1 AR2 S");
  EXPECT_EQ(text_of(lists[1]),
            "RA0.1<0 F0.1 L0.1 RA1.1<0 F1.1 L1.1 BI1.1 SG1.1>0 BW1.1 BI0.1 SG0.1>0 BW0.1 "
            "AR0 AR2 S");
  EXPECT_TRUE(text_of(make_schedule(sharded(pipeline(2, 2)), ScheduleKind::kGPipe)[1])
                  .ends_with("AR0 AR2 S GP0 GP2"));
}

TEST(Schedule1F1B, TakesTheGradientBeforeItBlocksInTheNextSend) {
  const std::vector<ActionList> lists = make_schedule(pipeline(2, 3), ScheduleKind::k1F1B);
  EXPECT_EQ(text_of(lists[0]),
            "F0.0 SA0.0>1 F1.0 RG0.0<1 SA1.0>1 BI0.0 BW0.0 F2.0 RG1.0<1 SA2.0>1 BI1.0 BW1.0 "
            "RG2.0<1 BI2.0 BW2.0 AR1 AR2 S");
  EXPECT_EQ(text_of(lists[1]),
            "RA0.1<0 F0.1 L0.1 BI0.1 SG0.1>0 BW0.1 RA1.1<0 F1.1 L1.1 BI1.1 SG1.1>0 BW1.1 "
            "RA2.1<0 F2.1 L2.1 BI2.1 SG2.1>0 BW2.1 AR0 AR2 S");
}

TEST(Schedule, OnlyGPipeTakesSeveralRangesARank) {
  const Mesh mesh = make_mesh(recipe_with(6, 4, true), interleaved_plan(8, 2, 4, 4), 2);
  for (const ScheduleKind kind : {ScheduleKind::k1F1B, ScheduleKind::kZeroBubble}) {
    try {
      make_schedule(mesh, kind);
      FAIL() << "accepted";
    } catch (const UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("several layer ranges: use schedule GPIPE"));
    }
  }
}

TEST(ForwardSchedule, RunsForwardAndLossOnlyAndNeverDeadlocks) {
  for (const bool tied : {true, false}) {
    const Mesh mesh = make_mesh(recipe_with(7, 4, tied), interleaved_plan(9, 3, 7, 4), 4);
    for (int m = 0; m <= 7; ++m) {
      const std::vector<ActionList> lists = make_forward_schedule(mesh, {m});
      EXPECT_EQ(simulate(mesh, lists, {}).deadlock, "");
      std::set<std::string> forwards;
      int losses = 0;
      for (const ActionList& list : lists) {
        for (const Action& action : list) {
          if (action.kind == ActionKind::kForward) forwards.insert(to_string(action));
          losses += action.kind == ActionKind::kLoss;
          EXPECT_LE(action.kind, ActionKind::kLoss) << to_string(action);
        }
      }
      EXPECT_EQ(forwards.size(), static_cast<size_t>(7 * m));
      EXPECT_EQ(losses, m);
    }
  }
}

}  // namespace
}  // namespace kente
