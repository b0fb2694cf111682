#include "launch/rank_watch.h"

#include <gtest/gtest.h>

#include "launch/supervisor.h"

namespace kente {
namespace {

/// Three ranks whose clock is ours.
class Watched : public testing::Test {
 protected:
  Watched() {
    for (int rank = 0; rank < 3; ++rank) watch_.joined(rank, 0);
  }
  /// Ten moments a second.
  static std::vector<double> tenths(double begin, double end) {
    std::vector<double> moments;
    for (int tenth = 0; begin + tenth / 10.0 < end; ++tenth)
      moments.push_back(begin + tenth / 10.0);
    return moments;
  }
  /// Every rank beats ten times a second from begin to end; those in stuck keep their phase.
  void beat(double begin, double end, const std::vector<int>& stuck = {},
            Phase phase = Phase::kForward, const std::vector<int>& silent = {}) {
    for (const double now : tenths(begin, end))
      for (int rank = 0; rank < 3; ++rank) {
        const auto in = [&](const std::vector<int>& list) {
          return std::find(list.begin(), list.end(), rank) != list.end();
        };
        if (in(silent)) continue;
        if (!in(stuck)) ++changes_;
        watch_.progress(rank,
                        {.step = 3,
                         .phase = in(stuck) ? phase : Phase::kMessage,
                         .micro_batch = 2,
                         .changes = in(stuck) ? 1 : 10 + changes_},
                        now);
      }
  }
  /// Everybody has been in every phase for a moment.
  void learn() {
    for (int phase = 0; phase < kPhases; ++phase)
      for (int i = 0; i < 20; ++i) times_.add(static_cast<Phase>(phase), 0.05);
  }

  PhaseTimes times_;
  RankWatch watch_{3, {.silence = 6, .stuck = 8, .patience = 100}, times_, 0};
  uint64_t changes_ = 0;
};

TEST_F(Watched, ARankThatBeatsAndMovesIsLeftAlone) {
  learn();
  beat(0, 60);
  EXPECT_FALSE(watch_.suspect(60));
  EXPECT_EQ(watch_.finished_step(), 3);
  EXPECT_EQ(watch_.where(1), "step 4, waiting for a neighbour of micro-batch 2");
}

TEST_F(Watched, ARankThatIsStoppedIsNamedOnceItWasSilentForTheLimit) {
  learn();
  beat(0, 1);
  beat(1, 6.8, {}, Phase::kForward, {1});
  EXPECT_FALSE(watch_.suspect(6.8));
  beat(6.8, 7.2, {}, Phase::kForward, {1});
  const auto suspect = watch_.suspect(7.2);
  ASSERT_TRUE(suspect);
  EXPECT_EQ(suspect->rank, 1);
  EXPECT_NE(suspect->why.find("no heartbeat for 6."), std::string::npos) << suspect->why;
}

TEST_F(Watched, ARankThatComputesForTooLongIsNamedNotThoseThatWaitForIt) {
  learn();
  beat(0, 1);
  beat(1, 12, {0, 2}, Phase::kMessage);
  EXPECT_FALSE(watch_.suspect(12)) << "rank 1 moves";
  beat(12, 13);
  for (const double now : tenths(13, 22))
    for (int rank = 0; rank < 3; ++rank)
      watch_.progress(rank,
                      {.step = 3,
                       .phase = rank == 1 ? Phase::kBackward : Phase::kReduce,
                       .micro_batch = 0,
                       .changes = 1000},
                      now);
  const auto suspect = watch_.suspect(22);
  ASSERT_TRUE(suspect);
  EXPECT_EQ(suspect->rank, 1);
  EXPECT_NE(suspect->why.find("step 4, backward"), std::string::npos) << suspect->why;
}

TEST_F(Watched, WhereEverybodyWaitsNobodyIsNamed) {
  learn();
  beat(0, 12, {0, 1, 2}, Phase::kMessage);
  const auto suspect = watch_.suspect(12);
  ASSERT_TRUE(suspect);
  EXPECT_EQ(suspect->rank, -1);
}

TEST_F(Watched, LimitsFollowWhatAPhaseTakes) {
  for (int i = 0; i < 20; ++i) times_.add(Phase::kForward, 3);
  beat(0, 20, {1});
  EXPECT_FALSE(watch_.suspect(20)) << "ten times three seconds are not over";
  beat(20, 33, {1});
  EXPECT_TRUE(watch_.suspect(33));
}

TEST_F(Watched, StartAndStorageHavePatienceAndSoHasAPhaseNobodyHasSeen) {
  beat(0, 50, {1}, Phase::kForward);
  EXPECT_FALSE(watch_.suspect(50)) << "the first forward may take long";
  learn();
  beat(50, 70, {2}, Phase::kSave);
  beat(70, 90, {2}, Phase::kStart);
  EXPECT_FALSE(watch_.suspect(90));
}

TEST_F(Watched, AEndingRunIsNotSuspected) {
  learn();
  beat(0, 1);
  watch_.left(0);
  EXPECT_FALSE(watch_.suspect(100));
}

TEST(RankWatch, ARankThatNeverComesIsMissedAfterPatience) {
  PhaseTimes times;
  RankWatch watch(2, {.silence = 6, .stuck = 8, .patience = 100}, times, 0);
  watch.joined(0, 0);
  for (int half = 0; half < 202; ++half) watch.progress(0, {}, half / 2.0);
  EXPECT_FALSE(watch.suspect(99));
  EXPECT_TRUE(watch.suspect(101));
}

TEST(PhaseTimes, P99IsOfTheNewestFewHundred) {
  PhaseTimes times;
  EXPECT_EQ(times.p99(Phase::kForward), 0);
  for (int i = 0; i < 600; ++i) times.add(Phase::kForward, i < 50 ? 100 : 1);
  EXPECT_EQ(times.p99(Phase::kForward), 1) << "the first fifty are forgotten";
  for (int i = 0; i < 10; ++i) times.add(Phase::kForward, 7);
  EXPECT_EQ(times.p99(Phase::kForward), 7);
}

TEST(BackOff, TheFirstRetryIsAtOnceThenWaitsDouble) {
  EXPECT_EQ(back_off_seconds(1), 0);
  EXPECT_EQ(back_off_seconds(2), 1);
  EXPECT_EQ(back_off_seconds(3), 2);
  EXPECT_EQ(back_off_seconds(6), 16);
  EXPECT_EQ(back_off_seconds(60), 60);
}

}  // namespace
}  // namespace kente
