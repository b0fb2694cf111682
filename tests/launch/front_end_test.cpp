#include "launch/front_end.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "csrc/base/errors.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using Kind = Invocation::Kind;

std::string refusal(const std::vector<std::string>& words) {
  try {
    find_command(words);
  } catch (const UsageError& failure) {
    return failure.what();
  }
  return "accepted";
}

TEST(FrontEnd, TrainRunsTheWorkerWithAllItsArguments) {
  const Invocation found = find_command({"train", "--recipe", "r", "--help"});
  EXPECT_EQ(found.kind, Kind::kProgram);
  EXPECT_EQ(found.target, "kente-worker");
  EXPECT_THAT(found.arguments, ElementsAre("train", "--recipe", "r", "--help"));
}

TEST(FrontEnd, CommandsOfTwoWordsAreFound) {
  const Invocation found = find_command({"data", "prepare", "sources.toml"});
  EXPECT_EQ(found.kind, Kind::kTool);
  EXPECT_EQ(found.target, "data_prepare.py");
  EXPECT_THAT(found.arguments, ElementsAre("sources.toml"));
}

TEST(FrontEnd, CkptAndReportRunTheirOwnPrograms) {
  EXPECT_EQ(find_command({"ckpt", "ls", "runs/x"}).target, "kente-ckpt");
  EXPECT_THAT(find_command({"ckpt", "ls", "runs/x"}).arguments, ElementsAre("ls", "runs/x"));
  EXPECT_EQ(find_command({"report", "runs/x"}).target, "kente-report");
  EXPECT_EQ(find_command({"plan", "--recipe", "r"}).target, "kente-plan");
  EXPECT_EQ(find_command({"export", "runs/x"}).target, "export.py");
  EXPECT_EQ(find_command({"sample", "runs/x"}).target, "sample.py");
  EXPECT_EQ(find_command({"metrics", "runs/x"}).target, "metrics.py");
}

TEST(FrontEnd, HelpListsEveryCommandOnALineOfItsOwn) {
  const std::string help = find_command({"--help"}).text;
  for (const char* const name :
       {"data prepare", "data ledger", "plan", "bench", "throttle", "train", "launch", "status",
        "logs", "report", "metrics", "sample", "export", "ckpt"})
    EXPECT_THAT(help, HasSubstr(std::string("\n  ") + name + " ")) << name;
  EXPECT_THAT(help, Not(HasSubstr("eval")));
  EXPECT_EQ(find_command({"-h"}).text, help);
  EXPECT_EQ(find_command({"help"}).text, help);
}

TEST(FrontEnd, HelpWithACommandAsksThatCommand) {
  EXPECT_THAT(find_command({"help", "train"}).arguments, ElementsAre("train", "--help"));
  EXPECT_THAT(find_command({"help", "report"}).arguments, ElementsAre("--help"));
}

TEST(FrontEnd, VersionIsTheProjects) {
  const Invocation found = find_command({"--version"});
  EXPECT_EQ(found.kind, Kind::kPrint);
  EXPECT_THAT(found.text, testing::MatchesRegex("kente [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(FrontEnd, AnUnknownCommandIsRefusedWithTheNearestOne) {
  EXPECT_THAT(refusal({"trian"}), AllOf(HasSubstr("'trian'"), HasSubstr("nearest is 'train'")));
  EXPECT_THAT(refusal({"exprot", "x"}), HasSubstr("nearest is 'export'"));
  EXPECT_THAT(refusal({"checkpt"}), HasSubstr("nearest is 'ckpt'"));
  EXPECT_THAT(refusal({"data", "prepar"}),
              AllOf(HasSubstr("'data prepar'"), HasSubstr("nearest is 'data prepare'")));
  EXPECT_THAT(refusal({"data"}), HasSubstr("nearest is 'data prepare'"));
  EXPECT_THAT(refusal({"dat"}), HasSubstr("nearest is 'data prepare'"));
  EXPECT_THAT(refusal({""}), HasSubstr("is not a command"));
  EXPECT_THAT(refusal({"help", "repotr"}), HasSubstr("nearest is 'report'"));
}

TEST(FrontEnd, NoCommandAtAllIsRefused) { EXPECT_THAT(refusal({}), HasSubstr("which command?")); }

class FindProject : public testing::Test {
 protected:
  void make_project(const std::string& name) {
    for (const char* const file : {"launch/setup", ".venv/bin/python"}) {
      const std::filesystem::path path = directory_ / name + "/" + file;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path) << "";
    }
  }
  TemporaryDirectory directory_;
};

TEST_F(FindProject, PrefersTheOneItWasBuiltIn) {
  make_project("a");
  make_project("b");
  EXPECT_EQ(find_project(directory_ / "a", directory_ / "b/build/cpu/bin"), directory_ / "a");
}

TEST_F(FindProject, SearchesUpwardsWhenTheProjectWasMoved) {
  make_project("b");
  EXPECT_EQ(find_project(directory_ / "gone", directory_ / "b/build/cpu/bin"), directory_ / "b");
}

TEST_F(FindProject, SaysWhereItLookedWhenThereIsNone) {
  try {
    find_project(directory_ / "gone", directory_ / "b");
    FAIL() << "found one";
  } catch (const UsageError& failure) {
    EXPECT_THAT(failure.what(), AllOf(HasSubstr(directory_ / "gone"), HasSubstr("launch/setup")));
  }
}

}  // namespace
}  // namespace kente
