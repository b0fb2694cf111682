#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/imitation.h"
#include "tests/config/config_texts.h"

namespace kente {
namespace {

using testing::HasSubstr;

const std::string kTwoKinds = R"(version: 1
seed: 7
rank {
  count: 2
  kind: "old"
  embedding { forward: 0.001 backward_input: 0 backward_weight: 0.002 }
  block { forward: 0.003 backward_input: 0.004 backward_weight: 0.005 }
  head { forward: 0.006 loss: 0.007 backward_input: 0.008 backward_weight: 0.009 }
  speed: 4
  fixed: 0.25
  exponent: 0.9
  noise: 0.05
}
rank { memory_bytes: 1000 drift_for_steps: 7 }
)";

void expect_imitation_refused(const WrongText& wrong) {
  expect_refused(wrong, kTwoKinds, "i",
                 [](const std::string& text) { parse_imitation(text, "i"); });
}

TEST(ImitationParse, RanksCountThroughTheEntries) {
  const Imitation imitation = parse_imitation(kTwoKinds, "i");
  ASSERT_EQ(imitation.ranks.size(), 3u);
  EXPECT_EQ(imitation.seed, 7u);
  EXPECT_EQ(imitation.rank(1), imitation.rank(0));
  EXPECT_EQ(imitation.rank(1).kind, "old");
  EXPECT_TRUE(imitation.rank(1).waits);
  EXPECT_EQ(imitation.rank(1).head.loss, 0.007);
  EXPECT_FALSE(imitation.rank(2).waits) << "no times: it computes at its own speed";
  EXPECT_EQ(imitation.rank(2).memory_bytes, 1000);
  EXPECT_EQ(imitation.rank(2).drift_for_steps, 7);
  EXPECT_EQ(imitation.rank(2).speed, 1);
}

TEST(ImitationParse, TextOfAnImitationParsesToTheSame) {
  const Imitation imitation = parse_imitation(kTwoKinds, "i");
  EXPECT_EQ(parse_imitation(to_text(imitation), "i"), imitation) << to_text(imitation);
}

TEST(ImitationParse, ARankTooManyIsNamed) {
  const Imitation imitation = parse_imitation(kTwoKinds, "i");
  EXPECT_THAT(error_of([&] { imitation.rank(3); }),
              HasSubstr("has 3 ranks, and there is a rank 3"));
}

TEST(ImitationParse, TimesArePositiveAndFinite) {
  expect_imitation_refused(
      {"forward: 0.003", "forward: 0", ":7:11", "block.forward is 0; allowed: above 0"});
  expect_imitation_refused({"forward: 0.003", "forward: -1", ":7:11", "is -1"});
  expect_imitation_refused({"forward: 0.003", "forward: nan", ":7:11", "is nan"});
  expect_imitation_refused({"forward: 0.003", "forward: inf", ":7:11", "is inf"});
  expect_imitation_refused(
      {"backward_weight: 0.005", "", ":7:3", "block.backward_weight is missing"});
  expect_imitation_refused({"loss: 0.007", "", ":8:3", "head.loss is missing"});
  expect_imitation_refused(
      {"forward: 0.003", "forward: 1 loss: 1", ":7:22", "only the head has a loss"});
}

TEST(ImitationParse, ADeviceIsGivenWholeOrNotAtAll) {
  expect_imitation_refused({"block { forward: 0.003 backward_input: 0.004 backward_weight: 0.005 }",
                            "", ":3:1", "rank[0].block is missing"});
}

TEST(ImitationParse, NumbersHaveBounds) {
  expect_imitation_refused({"speed: 4", "speed: 0", ":9:3", "speed is 0"});
  expect_imitation_refused(
      {"fixed: 0.25", "fixed: 1", ":10:3", "fixed is 1; allowed: 0 or above, below 1"});
  expect_imitation_refused({"exponent: 0.9", "exponent: 0", ":11:3", "exponent is 0"});
  expect_imitation_refused({"noise: 0.05", "noise: 1", ":12:3", "noise is 1"});
  expect_imitation_refused({"count: 2", "count: 0", ":4:3", "count is 0; allowed: 1 to 4096"});
  expect_imitation_refused({"count: 2", "count: 4096", ":14:1", "more than 4096 ranks"});
  expect_imitation_refused(
      {"memory_bytes: 1000", "memory_bytes: -1", ":14:8", "memory_bytes is -1"});
  expect_imitation_refused(
      {"noise: 0.05", "noisy: 0.05", ":12:3", "there is no field \"noisy\" here"});
}

TEST(ImitationParse, ATextWithoutRanksOrVersionIsRefused) {
  EXPECT_THAT(error_of([] { parse_imitation("version: 1", "i"); }), HasSubstr("no rank is"));
  EXPECT_THAT(error_of([] { parse_imitation("rank { }", "i"); }), HasSubstr("version is missing"));
  EXPECT_THAT(error_of([] { parse_imitation("version: 2 rank { }", "i"); }),
              HasSubstr("version 2"));
}

}  // namespace
}  // namespace kente
