#include "csrc/outer/round_lab.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace kente {
namespace {

template <typename Action>
bool has(const RoundLab::Actions& actions) {
  return std::ranges::any_of(
      actions, [](const LabAction& action) { return std::holds_alternative<Action>(action); });
}

TEST(RoundLab, TrainsOnAfterAFailedHealingOnceItsWeightsAreCalledRight) {
  const Epoch epoch{1, 1};
  RoundLab lab({.ask_every = 10, .initial_weights = "w0"}, "a", 1, 3, "w3");
  lab.start(0);
  lab.receive(Admit{epoch, 1}, 0);
  ASSERT_TRUE(has<FetchWeights>(lab.receive(Heal{epoch, 5, "w5", "b"}, 1)));
  lab.heal_failed();
  EXPECT_TRUE(has<TrainRound>(lab.receive(Done{epoch, 3, "w3"}, 3)));
  // Told again, it does not begin anew.
  EXPECT_FALSE(has<TrainRound>(lab.receive(Done{epoch, 3, "w3"}, 4)));
}

TEST(RoundLab, WhatItHasSentIsNotTrainedAgainAfterAFailure) {
  const Epoch epoch{1, 1};
  RoundLab lab({.ask_every = 10, .initial_weights = "w0"}, "a", 1, 3, "w3");
  lab.start(0);
  lab.receive(Admit{epoch, 1}, 0);
  lab.trained(4, "w3", "payload", 100);
  const RoundCommit commit{
      .round = 4, .base = "w3", .contributions = {{"b", "p", 1}}, .aggregate = "sum"};
  ASSERT_TRUE(has<ApplyCommit>(lab.receive(Committed{epoch, commit}, 1)));
  lab.apply_failed();
  EXPECT_FALSE(has<TrainRound>(lab.receive(Done{epoch, 3, "w3"}, 2)));
  const RoundLab::Actions said = lab.tick(10);
  ASSERT_EQ(said.size(), 1u);
  const auto* update = std::get_if<Update>(&std::get<SendToHub>(said[0]).message);
  ASSERT_NE(update, nullptr);
  EXPECT_EQ(update->contribution.payload, "payload");
}

}  // namespace
}  // namespace kente
