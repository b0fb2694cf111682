#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <fstream>

#include "csrc/base/clock.h"
#include "csrc/config/parse.h"
#include "launch/launch_resources.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;

/// kente status and kente logs on a run directory made by hand.
class StatusProgram : public testing::Test {
 protected:
  StatusProgram() {
    std::filesystem::create_directories(directory_ / "run/logs");
    recipe_.steps = 300;
    write("recipe.textproto", to_text(recipe_));
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / "run/" + name, std::ios::app) << text;
  }
  std::string command(const std::string& command, const std::string& more = "") {
    return std::string(KENTE_BINARY_DIR) + "/bin/kente " + command + " " + directory_ / "run" +
           " " + more;
  }
  CommandResult run(const std::string& what, const std::string& more = "") {
    return run_command(command(what, more), 30);
  }
  static std::string line(const std::string& second, const std::string& text) {
    return "2026-11-25T12:00:" + second + ".000 info rank 0 " + text + "\n";
  }

  TemporaryDirectory directory_;
  Recipe recipe_ = small_recipe(ModelFamily::kGpt2);
};

TEST_F(StatusProgram, SaysHowFarARunIsAndWhoLooksAfterIt) {
  const CommandResult fresh = run("status");
  EXPECT_EQ(fresh.status, 0) << fresh.output;
  EXPECT_THAT(fresh.output, HasSubstr("step 0 of 300"));
  EXPECT_THAT(fresh.output, HasSubstr("no checkpoint yet"));
  EXPECT_THAT(fresh.output, HasSubstr("no kente launch looks after it"));
  for (int step = 1; step <= 100; ++step)
    write("run.jsonl", "{\"step\":" + std::to_string(step) +
                           ",\"loss\":2.5,\"loss_bits\":\"40200000\",\"seconds\":" +
                           (step <= 50 ? "60" : "0.6") + ",\"tokens_per_second\":12345}\n");
  write("events.jsonl",
        "{\"time_ms\":1,\"event\":\"failure\",\"step\":7,\"detail\":\"rank 1 \\u001b[2J died\"}\n");
  const CommandResult later = run("status");
  EXPECT_THAT(later.output, HasSubstr("step 100 of 300, loss 2.5000, 12.3 k tokens/s, 2 min 00 s"));
  EXPECT_THAT(later.output, HasSubstr("failure step 7: rank 1 ?[2J died"));
  EXPECT_THAT(run("status", "--json").output, HasSubstr("\"step\": 100"));
  const RunLock lock(directory_ / "run");
  EXPECT_THAT(run("status").output,
              HasSubstr("kente launch looks after it: process " + std::to_string(::getpid())));
}

TEST_F(StatusProgram, LogsComeInTheOrderOfTheirTimes) {
  write("logs/rank-0000.log", line("01", "first") + line("04", "fourth") + "half a li");
  write("logs/rank-0001.log", line("02", "second") + line("03", "third"));
  const std::string all = run("logs").output;
  EXPECT_LT(all.find("first"), all.find("second"));
  EXPECT_LT(all.find("third"), all.find("fourth"));
  EXPECT_THAT(all, Not(HasSubstr("half")));
  EXPECT_THAT(run("logs", "--rank 1").output, Not(HasSubstr("first")));
  EXPECT_THAT(run("logs", "-n 1").output, Not(HasSubstr("third")));
}

TEST_F(StatusProgram, FollowShowsWhatIsWrittenAndNothingTwice) {
  write("logs/rank-0000.log", line("01", "before"));
  const std::string shown = directory_ / "shown";
  Process program("exec " + command("logs", "-f") + " > " + shown);
  const auto text = [&] {
    std::ifstream file(shown);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const auto shows = [&](const std::string& words) {
    const Deadline deadline = Deadline::after_seconds(20);
    while (text().find(words) == std::string::npos && !deadline.passed()) ::poll(nullptr, 0, 5);
    return text().find(words) != std::string::npos;
  };
  ASSERT_TRUE(shows("before"));
  // Written again and again: the watch may begin after the first.
  for (int i = 10; i < 60 && text().find("later") == std::string::npos; ++i) {
    write("logs/rank-0001.log", line(std::to_string(i), "later " + std::to_string(i)));
    ::poll(nullptr, 0, 50);
  }
  EXPECT_TRUE(shows("later 10"));
  const std::string all = text();
  EXPECT_EQ(all.find("before"), all.rfind("before"));
  EXPECT_EQ(all.find("later 10"), all.rfind("later 10"));
}

TEST_F(StatusProgram, WrongArgumentsExitWithTwoAndOneLine) {
  for (const char* wrong : {"status /nowhere", "logs /nowhere", "logs", "status --what x"}) {
    const CommandResult result =
        run_command(std::string(KENTE_BINARY_DIR) + "/bin/kente " + wrong, 30);
    EXPECT_EQ(result.status, 2) << wrong << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
}

}  // namespace
}  // namespace kente
