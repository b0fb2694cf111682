#include "csrc/train/pacer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "csrc/base/clock.h"

namespace kente {
namespace {

const LayerOp kForward = {.layer = LayerKind::kBlock, .pass = LayerPass::kForward, .samples = 2};

ImitatedRank device() {
  ImitatedRank rank;
  rank.waits = true;
  rank.embedding = {.forward = 1, .backward_input = 2, .backward_weight = 3};
  rank.block = {.forward = 4, .backward_input = 5, .backward_weight = 6};
  rank.head = {.forward = 7, .loss = 8, .backward_input = 9, .backward_weight = 10};
  return rank;
}

Pacer pacer(const ImitatedRank& rank, int number = 0) {
  return Pacer({.device = rank, .seed = 3, .rank = number, .grain_samples = 2, .progress = {}});
}

TEST(Pacer, EachLayerAndPassHasItsOwnTime) {
  const Pacer p = pacer(device());
  const auto seconds = [&](LayerKind layer, LayerPass pass) {
    return p.seconds({.layer = layer, .pass = pass, .samples = 2});
  };
  EXPECT_DOUBLE_EQ(seconds(LayerKind::kEmbedding, LayerPass::kBackwardWeight), 3);
  EXPECT_DOUBLE_EQ(seconds(LayerKind::kBlock, LayerPass::kForward), 4);
  EXPECT_DOUBLE_EQ(seconds(LayerKind::kBlock, LayerPass::kBackwardInput), 5);
  EXPECT_DOUBLE_EQ(seconds(LayerKind::kHead, LayerPass::kLoss), 8);
  LayerOp again = kForward;
  again.pass = LayerPass::kBackwardInput;
  again.recompute = Recompute::kFull;
  EXPECT_DOUBLE_EQ(p.seconds(again), 5 + 4) << "computed again: its forward too";
}

TEST(Pacer, SpeedDividesAndTheCurveBends) {
  ImitatedRank rank = device();
  rank.speed = 8;
  EXPECT_DOUBLE_EQ(pacer(rank).seconds(kForward), 0.5);
  rank.fixed = 0.2;
  rank.exponent = 0.5;
  LayerOp four = kForward;
  four.samples = 8;  // 4 grains
  EXPECT_DOUBLE_EQ(pacer(rank).seconds(kForward), 0.5) << "one grain is what is given";
  EXPECT_DOUBLE_EQ(pacer(rank).seconds(four), 0.5 * (0.2 + 0.8 * 2));
}

TEST(Pacer, NoiseStaysInItsBoundsRepeatsAndDiffersByRank) {
  ImitatedRank rank = device();
  rank.block.forward = 1e-9;  // nothing to wait for
  rank.noise = 0.05;
  Pacer a = pacer(rank), same = pacer(rank), other = pacer(rank, 1);
  double low = 1, high = 0;
  int differ = 0;
  for (int i = 0; i < 200; ++i) {
    const double relative = a.seconds(kForward) / 1e-9;
    EXPECT_EQ(a.seconds(kForward), same.seconds(kForward));
    differ += a.seconds(kForward) != other.seconds(kForward);
    low = std::min(low, relative);
    high = std::max(high, relative);
    for (Pacer* p : {&a, &same, &other}) p->layer(kForward);
  }
  EXPECT_GE(low, 0.95);
  EXPECT_LE(high, 1.05);
  EXPECT_LT(low, 0.955) << "200 draws fill the range";
  EXPECT_GT(high, 1.045);
  EXPECT_EQ(differ, 200);
}

TEST(Pacer, DriftBeginsAfterItsStep) {
  ImitatedRank rank = device();
  rank.drift_after_steps = 2;
  rank.drift_factor = 1.5;
  Pacer p = pacer(rank);
  p.step();
  EXPECT_DOUBLE_EQ(p.seconds(kForward), 4);
  p.step();
  EXPECT_DOUBLE_EQ(p.seconds(kForward), 6);
}

TEST(Pacer, DriftEndsAndARunThatGoesOnCountsItsStepsFromTheFirst) {
  ImitatedRank rank = device();
  rank.drift_after_steps = 10;
  rank.drift_factor = 1.5;
  rank.drift_for_steps = 2;
  Pacer p({.device = rank, .grain_samples = 2, .steps = 9, .progress = {}});
  for (const double seconds : {4, 6, 6, 4}) {
    EXPECT_DOUBLE_EQ(p.seconds(kForward), seconds);
    p.step();
  }
}

TEST(Pacer, WaitsUntilTheDeviceWouldHaveFinishedAndPollsMeanwhile) {
  ImitatedRank rank = device();
  rank.block.forward = 0.01;
  int polls = 0;
  Pacer p({.device = rank, .grain_samples = 2, .progress = [&] { ++polls; }});
  const int64_t begin = now_ns();
  p.begin();
  for (int i = 0; i < 5; ++i) p.layer(kForward);
  // Never early; how late depends on the machine, so only a stall of seconds would be a fault.
  EXPECT_GE(now_ns() - begin, 50'000'000);
  EXPECT_LT(now_ns() - begin, 2'000'000'000);
  EXPECT_GT(polls, 5);
}

// A nap that ends late makes the next wait shorter: what is lost is one oversleep, not one a layer.
TEST(Pacer, LateWakingDoesNotAddUp) {
  ImitatedRank rank = device();
  rank.block.forward = 0.002;
  int64_t time = 1'000;
  Pacer p({.device = rank,
           .grain_samples = 2,
           .progress = {},
           .clock = {.now = [&] { return time; }, .nap = [&](int64_t at) { time = at + 60'000; }}});
  for (int i = 0; i < 25; ++i) {
    p.begin();
    p.layer(kForward);
  }
  EXPECT_EQ(time, 1'000 + 25 * 2'000'000 + 60'000);
  EXPECT_EQ(p.late_share(), 0) << "waking late is not computing late";
}

TEST(Pacer, CountsWhatTheMachineTakesLonger) {
  ImitatedRank rank = device();
  rank.block.forward = 1e-3;
  int64_t time = 1'000;
  Pacer p({.device = rank,
           .grain_samples = 2,
           .progress = {},
           .clock = {.now = [&] { return time; }, .nap = [&](int64_t at) { time = at; }}});
  p.begin();
  time += 3'000'000;  // computes for 3 ms instead of 1
  p.layer(kForward);
  EXPECT_DOUBLE_EQ(p.late_share(), 2);
  time += 500'000;
  p.layer(kForward);
  EXPECT_DOUBLE_EQ(p.late_share(), 1) << "being behind already is no fault of the second pass";
}

TEST(Pacer, ARankWithoutTimesIsNotHeldUp) {
  Pacer p = pacer(ImitatedRank{});
  p.begin();
  const int64_t begin = now_ns();
  p.layer(kForward);
  EXPECT_LT(now_ns() - begin, 1'000'000'000);
  EXPECT_EQ(p.late_share(), 0);
}

}  // namespace
}  // namespace kente
