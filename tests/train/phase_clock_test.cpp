#include "csrc/train/phase_clock.h"

#include <gtest/gtest.h>

namespace kente {
namespace {

constexpr int64_t kMillisecond = 1'000'000;

/// A step of a middle stage, told action by action with made-up times, one after the other.
class ToldClock {
 public:
  void spend(const Action& action, int64_t ms, int64_t waited_ms = 0) {
    const int64_t begin = now_;
    now_ += ms * kMillisecond;
    clock_.add(action, begin, now_, begin + waited_ms * kMillisecond);
  }
  PhaseClock& clock() { return clock_; }

 private:
  PhaseClock clock_;
  int64_t now_ = 5 * kMillisecond;
};

void tell_step(ToldClock& told) {
  told.clock().begin_step();
  told.clock().add_optimizer(1 * kMillisecond);
  told.spend({.kind = ActionKind::kRecvActivation, .peer = 0}, 7);
  told.spend({.kind = ActionKind::kForward}, 10);
  told.spend({.kind = ActionKind::kLoss}, 3);
  told.spend({.kind = ActionKind::kSendActivation, .peer = 2}, 100);
  told.spend({.kind = ActionKind::kRecvGradient, .peer = 2}, 9);
  told.spend({.kind = ActionKind::kBackwardInput}, 20);
  told.spend({.kind = ActionKind::kSendGradient, .peer = 0}, 100);
  told.spend({.kind = ActionKind::kBackwardWeight}, 15);
  told.spend({.kind = ActionKind::kReduceBucket}, 4);
  told.spend({.kind = ActionKind::kReduceBucket}, 6);
  told.spend({.kind = ActionKind::kStep}, 13, 8);
  told.spend({.kind = ActionKind::kGatherParameters}, 2);
}

TEST(PhaseClock, SortsEveryActionIntoItsPhase) {
  ToldClock told;
  tell_step(told);
  const RankMeasurement measured = told.clock().take();
  EXPECT_DOUBLE_EQ(measured.phases.forward, 0.013);
  EXPECT_DOUBLE_EQ(measured.phases.backward_input, 0.020);
  EXPECT_DOUBLE_EQ(measured.phases.backward_weight, 0.015);
  EXPECT_DOUBLE_EQ(measured.phases.optimizer, 0.001 + 0.005) << "zeroing and what the wait left";
  EXPECT_DOUBLE_EQ(measured.end_wait, 0.018) << "from the first reduction to the vote's end";
  ASSERT_EQ(measured.waited_for.size(), 2u);
  EXPECT_EQ(measured.waited_for[0].first, 0);
  EXPECT_DOUBLE_EQ(measured.waited_for[0].second, 0.007);
  EXPECT_EQ(measured.waited_for[1].first, 2);
  EXPECT_DOUBLE_EQ(measured.waited_for[1].second, 0.009);
  EXPECT_DOUBLE_EQ(measured.phases.wait, 0.018 + 0.007 + 0.009 + 0.002);
}

TEST(PhaseClock, AveragesOverStepsAndForgetsWhatWasTaken) {
  ToldClock told;
  tell_step(told);
  told.clock().begin_step();
  told.spend({.kind = ActionKind::kForward}, 27);
  told.spend({.kind = ActionKind::kStep}, 6, 4);
  const RankMeasurement both = told.clock().take();
  EXPECT_DOUBLE_EQ(both.phases.forward, 0.020);
  EXPECT_DOUBLE_EQ(both.end_wait, 0.011) << "a step without reductions waits from its Step on";
  const RankMeasurement none = told.clock().take();
  EXPECT_EQ(none.phases.forward, 0);
  EXPECT_EQ(none.phases.wait, 0);
  EXPECT_TRUE(none.waited_for.empty());
}

}  // namespace
}  // namespace kente
