#include "csrc/outer/round_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kente {
namespace {

using testing::HasSubstr;

/// A hub whose disk is fast, and which keeps what it said.
class HubTest : public testing::Test {
 protected:
  void start(int quorum, const std::vector<LogRecord>& log = {}, int64_t round_time = 100) {
    hub.emplace(RoundPolicy{.quorum = quorum,
                            .round_time = round_time,
                            .vote_time = 50,
                            .silence = 1000,
                            .ask_every = 10,
                            .rounds_kept = 2,
                            .initial_weights = "w0"});
    for (const LogRecord& record : log) hub->replay(record);
    carry_out(hub->start(now));
  }

  void carry_out(RoundHub::Actions actions) {
    for (const HubAction& action : actions) {
      if (const auto* send = std::get_if<SendToLab>(&action)) {
        sent.push_back(*send);
      } else if (const auto* write = std::get_if<WriteLog>(&action)) {
        log.push_back(write->record);
        carry_out(hub->logged(now));
      } else if (const auto* sum = std::get_if<Aggregate>(&action)) {
        carry_out(hub->aggregated(sum->round, "sum" + std::to_string(sum->round)));
      } else if (const auto* alarm = std::get_if<Alarm>(&action)) {
        alarms.push_back(alarm->what);
      }
    }
  }

  void say(const LabId& lab, const ToHub& message) { carry_out(hub->receive(lab, message, now)); }
  Epoch join(const LabId& lab, uint64_t session = 1) {
    say(lab, Join{session});
    return last<Admit>(lab).epoch;
  }
  void update(const LabId& lab, const Epoch& epoch, int64_t round, const Digest& base) {
    say(lab, Update{epoch, round, base, {lab, lab + std::to_string(round), 100}});
  }
  void tick(int64_t at) {
    now = at;
    carry_out(hub->tick(now));
  }

  /// The last message of a kind to a lab; an empty one where there is none.
  template <typename Message>
  Message last(const LabId& lab) const {
    for (auto it = sent.rbegin(); it != sent.rend(); ++it)
      if (it->lab == lab && std::holds_alternative<Message>(it->message))
        return std::get<Message>(it->message);
    return {};
  }

  std::optional<RoundHub> hub;
  int64_t now = 0;
  std::vector<SendToLab> sent;
  std::vector<LogRecord> log;
  std::vector<std::string> alarms;
};

TEST_F(HubTest, ARoundClosesAtItsDeadlineWithAQuorumAndNotBefore) {
  start(2);
  const Epoch a = join("a"), b = join("b");
  join("c");
  update("a", a, 1, "w0");
  tick(500);
  EXPECT_EQ(hub->rounds_committed(), 0);  // no quorum
  update("b", b, 1, "w0");
  EXPECT_EQ(hub->rounds_committed(), 1);  // c is late
  EXPECT_EQ(last<Committed>("c").commit.contributions,
            (std::vector<Contribution>{{"a", "a1", 100}, {"b", "b1", 100}}));
}

TEST_F(HubTest, ARoundDoesNotWaitForALabThatIsSilent) {
  start(1);
  const Epoch a = join("a");
  join("b");
  now = 950;
  say("a", Ask{a, 0, "w0"});
  update("a", a, 1, "w0");
  EXPECT_EQ(hub->rounds_committed(), 1);  // the deadline had passed
  say("a", Vote{a, 1, "w1"});
  EXPECT_EQ(hub->rounds_done(), 1);
  update("a", a, 2, "w1");
  EXPECT_EQ(hub->rounds_committed(), 1);
  EXPECT_EQ(hub->next_deadline(), 1001);  // b has said nothing since 0
  tick(1001);
  EXPECT_EQ(hub->rounds_committed(), 2);
}

TEST_F(HubTest, ALabThatTalksAndDoesNotContributeIsWaitedForUntilTheDeadline) {
  start(1, {}, /*round_time=*/5000);
  const Epoch a = join("a"), c = join("c");
  join("b");  // and is silent
  update("a", a, 1, "w0");
  while (hub->rounds_committed() == 0) {
    ASSERT_LE(hub->next_deadline(), 5000);
    now = hub->next_deadline();
    say("c", Ask{c, 0, "w0"});
    tick(now);
  }
  EXPECT_EQ(now, 5000);
}

TEST_F(HubTest, WhoIsInTheMinorityTakesItsWeightsFromAnotherLab) {
  start(2);
  const Epoch a = join("a"), b = join("b"), c = join("c");
  for (const auto& [lab, epoch] :
       std::vector<std::pair<LabId, Epoch>>{{"a", a}, {"b", b}, {"c", c}})
    update(lab, epoch, 1, "w0");
  say("a", Vote{a, 1, "wrong"});
  say("b", Vote{b, 1, "w1"});
  EXPECT_EQ(hub->rounds_done(), 0);
  say("c", Vote{c, 1, "w1"});
  EXPECT_EQ(hub->rounds_done(), 1);
  EXPECT_EQ(last<Heal>("a").weights, "w1");
  EXPECT_EQ(last<Heal>("a").round, 1);
  EXPECT_NE(last<Heal>("a").from, "a");
  EXPECT_EQ(last<Done>("b").weights, "w1");
}

TEST_F(HubTest, WithoutAMajorityTheRunStandsStillAndSaysSo) {
  start(1);
  const Epoch a = join("a"), b = join("b");
  update("a", a, 1, "w0");
  update("b", b, 1, "w0");
  say("a", Vote{a, 1, "w1"});
  say("b", Vote{b, 1, "other"});
  EXPECT_TRUE(alarms.empty());
  tick(60);
  EXPECT_EQ(hub->rounds_done(), 0);
  ASSERT_EQ(alarms.size(), 1u);
  EXPECT_THAT(alarms[0], HasSubstr("no majority for any weights: a has w1, b has other;"));
  // b is started anew, applies the round again and has what a has.
  const Epoch again = join("b", 2);
  say("b", Vote{again, 1, "w1"});
  EXPECT_EQ(hub->rounds_done(), 1);
}

TEST_F(HubTest, ALogThatHasLostItsEndIsNotARoundForgotten) {
  start(1);
  const Epoch a = join("a");
  update("a", a, 1, "w0");
  say("a", Vote{a, 1, "w1"});
  const std::vector<LogRecord> lost(log.begin(), log.begin() + 2);  // term, admission
  start(1, lost);
  say("a", Join{1});
  say("a", Ask{last<Admit>("a").epoch, 1, "w1"});
  ASSERT_EQ(alarms.size(), 1u);
  EXPECT_THAT(alarms[0], HasSubstr("a has round 1, and the log ends at round 0"));
  EXPECT_EQ(last<Heal>("a").from, "");
}

TEST_F(HubTest, ALabThatComesBackIsBroughtForwardRoundByRoundOrHealed) {
  start(1);
  const Epoch a = join("a");
  for (int64_t round = 1; round <= 5; ++round) {
    update("a", a, round, "w" + std::to_string(round - 1));
    say("a", Ask{a, round, "w" + std::to_string(round), round});
  }
  ASSERT_EQ(hub->rounds_done(), 5);
  const Epoch b = join("b");
  say("b", Ask{b, 3, "w3"});
  EXPECT_EQ(last<Committed>("b").commit.round, 4);
  say("b", Ask{b, 2, "w2"});  // its aggregate is gone
  EXPECT_EQ(last<Heal>("b").round, 5);
  EXPECT_EQ(last<Heal>("b").from, "a");
}

TEST_F(HubTest, WhatFollowsTheLastCheckpointIsKept) {
  start(1);
  const Epoch a = join("a");
  for (int64_t round = 1; round <= 9; ++round) {
    update("a", a, round, "w" + std::to_string(round - 1));
    say("a", Ask{a, round, "w" + std::to_string(round), /*stored=*/1});
  }
  const Epoch again = join("a", 2);
  say("a", Ask{again, 1, "w1", 1});
  EXPECT_EQ(last<Committed>("a").commit.round, 2);
}

TEST_F(HubTest, NobodyElsesContributionIsTaken) {
  start(1);
  const Epoch a = join("a");
  join("b");
  say("a", Update{a, 1, "w0", {"b", "p", 100}});
  say("a", Update{a, 1, "w0", {"a", "p", 0}});
  say("stranger", Update{a, 1, "w0", {"stranger", "p", 100}});
  tick(500);
  EXPECT_EQ(hub->rounds_committed(), 0);
}

}  // namespace
}  // namespace kente
