#include "launch/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "tests/config/config_texts.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// A command of every kind of option, and the words given to it.
struct Told {
  std::string name = "unnamed", kind = "fast";
  int ranks = 1;
  int64_t bytes = 0;
  double share = 1;
  std::optional<int64_t> step;
  std::vector<std::string> set;
  std::vector<int64_t> steps;
  bool quiet = false;
  std::vector<std::string> others;
  bool helped = false;
};

Told tell(std::vector<std::string> words, Help help = Help::kSilent) {
  Told told;
  CommandLine app("For the test.", "kente test");
  app.option("NAME", told.name, "by its place").required();
  app.option("--kind", told.kind, "one of two").one_of({"fast", "exact"}).show_default();
  app.option("-n,--ranks", told.ranks, "whole").between(1, 8);
  app.option("--bytes", told.bytes, "whole").positive();
  app.option("--share", told.share, "real").between(0.5, 1.5);
  app.option("--step", told.step, "may lack");
  app.option("--set", told.set, "repeatable");
  app.option("--steps", told.steps, "two").words(2);
  app.flag("--quiet", told.quiet, "flag");
  app.allow_others();
  words.insert(words.begin(), "kente-test");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  told.helped = app.asks_for_help(static_cast<int>(argv.size()), argv.data(), "", help);
  told.others = app.others();
  return told;
}

std::string command_refusal(const std::vector<std::string>& words) {
  return error_of([&] { tell(words); });
}

TEST(CommandLine, ReadsEveryKindOfOption) {
  const Told told = tell({"--kind", "EXACT", "run", "-n", "3", "--bytes=5000000000", "--share",
                          "0.75", "--set", "a=1", "--set", "b=2", "--steps", "7", "9", "--quiet"});
  EXPECT_EQ(told.name, "run");
  EXPECT_EQ(told.kind, "exact");  // as the list has it
  EXPECT_EQ(told.ranks, 3);
  EXPECT_EQ(told.bytes, 5'000'000'000);
  EXPECT_EQ(told.share, 0.75);
  EXPECT_FALSE(told.step.has_value());
  EXPECT_THAT(told.set, ElementsAre("a=1", "b=2"));
  EXPECT_THAT(told.steps, ElementsAre(7, 9));
  EXPECT_TRUE(told.quiet);
  EXPECT_EQ(tell({"run", "--step", "12"}).step, 12);
}

TEST(CommandLine, SaysWhichOptionIsWrongAndWhereToRead) {
  const std::string missing = command_refusal({"--quiet"});
  EXPECT_THAT(missing, HasSubstr("NAME is required"));
  EXPECT_THAT(missing, HasSubstr("see `kente test --help`"));
  EXPECT_THAT(command_refusal({"run", "--ranks", "9"}), HasSubstr("--ranks"));
  EXPECT_THAT(command_refusal({"run", "--ranks", "9"}), HasSubstr("1 to 8"));
  EXPECT_THAT(command_refusal({"run", "--share", "0.4"}), HasSubstr("--share"));
  EXPECT_THAT(command_refusal({"run", "--bytes", "0"}), HasSubstr("--bytes"));
  EXPECT_THAT(command_refusal({"run", "--bytes", "many"}), HasSubstr("many"));
  EXPECT_THAT(command_refusal({"run", "--kind", "slow"}), HasSubstr("slow not in {fast,exact}"));
  EXPECT_THAT(command_refusal({"run", "--steps", "1"}), HasSubstr("--steps"));
}

TEST(CommandLine, HandsOnWhatItDoesNotKnow) {
  EXPECT_THAT(tell({"run", "--plan", "even"}).others, ElementsAre("--plan", "even"));
}

TEST(CommandLine, PrintsHelpOnlyWhereAsked) {
  testing::internal::CaptureStdout();
  EXPECT_TRUE(tell({"--help"}, Help::kSilent).helped);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  testing::internal::CaptureStdout();
  EXPECT_TRUE(tell({"--help"}, Help::kPrinted).helped);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("--kind TEXT:{fast,exact}=fast"));
}

TEST(CommandLine, KnowsWhichCommandWasGiven) {
  CommandLine app("For the test.", "kente test");
  int count = 0;
  Command list = app.command("ls", "lists");
  list.option("--count", count, "how many");
  const Command remove = app.command("rm", "removes");
  std::string words[] = {"kente-test", "ls", "--count", "4"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data()};
  EXPECT_FALSE(app.asks_for_help(4, argv));
  EXPECT_TRUE(list.given());
  EXPECT_FALSE(remove.given());
  EXPECT_EQ(count, 4);
  EXPECT_THAT(error_of([&] { app.asks_for_help(1, argv, "see the README"); }),
              HasSubstr("; see the README"));
}

}  // namespace
}  // namespace kente
