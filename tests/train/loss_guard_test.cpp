#include "csrc/train/loss_guard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using Verdict = LossGuard::Verdict;

/// A quiet loss curve: falls slowly, with a little noise.
LossGuard::Step usual(int64_t step) {
  const auto t = static_cast<double>(step);
  return {.step = step,
          .loss = 4 - t / 1000 + 0.02 * std::sin(3 * t),
          .grad_norm = 1 + 0.1 * std::sin(t)};
}

LossGuard::Step spiking(int64_t step) {
  LossGuard::Step bad = usual(step);
  bad.loss += 1;
  return bad;
}

LossGuard::Step not_applied(int64_t step) {
  return {.step = step, .applied = false, .loss = std::nan(""), .grad_norm = std::nan("")};
}

/// Steps first .. last of the quiet curve.
void train(LossGuard& guard, int64_t first, int64_t last) {
  for (int64_t step = first; step <= last; ++step) {
    const LossGuard::Judgement judged = guard.judge(usual(step));
    ASSERT_EQ(judged.verdict, Verdict::kGoOn) << step << ": " << judged.reason;
    ASSERT_EQ(judged.reason, "") << step;
  }
}

TEST(LossGuard, LetsAQuietCurveAndASingleSpikePass) {
  LossGuard guard({});
  train(guard, 1, 300);
  for (int i = 0; i < 2; ++i) {
    const LossGuard::Judgement judged = guard.judge(spiking(301 + i));
    EXPECT_EQ(judged.verdict, Verdict::kGoOn);
    EXPECT_NE(judged.reason, "");
  }
  train(guard, 303, 400);
  EXPECT_EQ(guard.judge(spiking(401)).verdict, Verdict::kGoOn) << "only spikes in a row count";
}

TEST(LossGuard, SpikesInARowGoBackToAStepThatDependsOnTheRecipeAlone) {
  LossGuard guard({});
  train(guard, 1, 450);
  guard.judge(spiking(451));
  guard.judge(spiking(452));
  const LossGuard::Judgement judged = guard.judge(spiking(453));
  EXPECT_EQ(judged.verdict, Verdict::kRollBack);
  EXPECT_EQ(judged.at_most, 300) << "the last multiple of 100 at least 100 steps back";
  EXPECT_NE(judged.reason.find("loss 4.5"), std::string::npos) << judged.reason;
}

TEST(LossGuard, AGradientNormFarAboveItsMedianIsASpike) {
  LossGuard guard({.spike_steps = 1});
  train(guard, 1, 200);
  LossGuard::Step bad = usual(201);
  bad.grad_norm = 9;
  EXPECT_EQ(guard.judge(bad).verdict, Verdict::kGoOn);
  bad.grad_norm = 13;
  EXPECT_EQ(guard.judge(bad).verdict, Verdict::kRollBack);
}

TEST(LossGuard, JudgesNobodyByAFewStepsNorWithoutAWindow) {
  LossGuard young({.spike_steps = 1}), off({.window_steps = 0, .spike_steps = 1});
  train(young, 1, 60);
  train(off, 1, 300);
  EXPECT_EQ(young.judge(spiking(61)).verdict, Verdict::kGoOn);
  EXPECT_EQ(off.judge(spiking(301)).verdict, Verdict::kGoOn);
}

TEST(LossGuard, StepsThatAreNotFiniteAreLeftOutThenUndoneThenEndTheRun) {
  LossGuard guard({.max_skips = 2, .rollback_steps = 10, .max_rollbacks = 1});
  EXPECT_EQ(guard.judge(not_applied(31)).verdict, Verdict::kGoOn);
  EXPECT_EQ(guard.judge(not_applied(32)).verdict, Verdict::kGoOn);
  const LossGuard::Judgement back = guard.judge(not_applied(33));
  ASSERT_EQ(back.verdict, Verdict::kRollBack);
  EXPECT_EQ(back.at_most, 20);
  guard.rolled_back(33, 20);
  guard.judge(not_applied(21));
  EXPECT_EQ(guard.judge(usual(22)).verdict, Verdict::kGoOn);
  guard.judge(not_applied(23));
  guard.judge(not_applied(24));
  const LossGuard::Judgement end = guard.judge(not_applied(25));
  EXPECT_EQ(end.verdict, Verdict::kStop);
  EXPECT_NE(end.reason.find("learning_rate"), std::string::npos) << end.reason;
}

TEST(LossGuard, RollBacksLongAgoAreForgiven) {
  LossGuard guard({.max_skips = 0, .max_rollbacks = 1});
  guard.rolled_back(500, 300);
  EXPECT_EQ(guard.judge(not_applied(1499)).verdict, Verdict::kStop);
  EXPECT_EQ(guard.judge(not_applied(1501)).verdict, Verdict::kRollBack);
}

TEST(LossGuard, TheDataOfUndoneStepsIsNeverUsedAgain) {
  LossGuard guard({});
  EXPECT_EQ(guard.data_step(7), 7);
  guard.rolled_back(453, 300);
  EXPECT_EQ(guard.data_step(300), 300);
  EXPECT_EQ(guard.data_step(301), 454);
  guard.rolled_back(410, 200);  // used the data of 563
  EXPECT_EQ(guard.data_step(200), 200);
  EXPECT_EQ(guard.data_step(201), 564);
  EXPECT_EQ(guard.data_step(301), 664);
}

TEST(LossGuard, ItsStateGoesOnAsItWouldHave) {
  LossGuard guard({});
  train(guard, 1, 450);
  guard.rolled_back(450, 300);
  train(guard, 301, 350);
  guard.judge(spiking(351));
  LossGuard resumed({}, guard.state());
  EXPECT_EQ(resumed.state(), guard.state());
  EXPECT_EQ(resumed.data_step(400), guard.data_step(400));
  guard.judge(spiking(352));
  resumed.judge(spiking(352));
  const LossGuard::Judgement a = guard.judge(spiking(353)), b = resumed.judge(spiking(353));
  EXPECT_EQ(a.verdict, Verdict::kRollBack);
  EXPECT_EQ(b.verdict, a.verdict);
  EXPECT_EQ(b.reason, a.reason);
}

TEST(LossGuard, AStateThatIsNotOneIsRefused) {
  for (const char* text :
       {"{", "[]", "{}", R"({"rollbacks":[],"skipped":0,"skips":[[1]],"spikes":0,"window":[]})",
        R"({"rollbacks":[-1],"skipped":0,"skips":[],"spikes":0,"window":[]})"})
    EXPECT_THROW(LossGuard({}, text), FormatError) << text;
}

}  // namespace
}  // namespace kente
