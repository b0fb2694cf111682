#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int status = -1;
  std::string output;  // stdout and stderr
};

Outcome run_program(const std::string& arguments) {
  Outcome outcome;
  const std::string command = std::string(KENTE_CKPT_PROGRAM) + " " + arguments + " 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return outcome;
  std::array<char, 4096> buffer{};
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

class CkptProgram : public ::testing::Test {
 protected:
  CkptProgram() {
    const auto files = posix_file_system();
    for (const int64_t step : {10, 20}) write_small_checkpoint(*files, run_ / "ckpt", step);
  }
  void damage() {
    std::fstream file(run_ / "ckpt/step-000000000020/rank-0000.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x55');
  }
  TemporaryDirectory run_;
};

TEST_F(CkptProgram, ListsNewestFirst) {
  const Outcome outcome = run_program("ls " + run_.path());
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.output, HasSubstr("all of it here"));
  EXPECT_LT(outcome.output.find("          20  "), outcome.output.find("          10  "));
  EXPECT_THAT(run_program("ls --json " + run_.path()).output, HasSubstr("\"shards_here\": 2"));
}

TEST_F(CkptProgram, VerifyExitsWithFourAndNamesTheFileOnceAByteIsWrong) {
  EXPECT_EQ(run_program("verify " + run_.path()).status, 0);
  damage();
  const Outcome outcome = run_program("verify " + run_.path());
  EXPECT_EQ(outcome.status, 4);
  EXPECT_THAT(outcome.output, HasSubstr("step-000000000020/rank-0000.safetensors"));
  EXPECT_EQ(run_program("verify --step 10 " + run_.path()).status, 0);
  EXPECT_THAT(run_program("verify --json " + run_.path()).output, HasSubstr("\"ok\": false"));
}

TEST_F(CkptProgram, LsExitsWithFourWhenAShardIsMissing) {
  std::filesystem::remove(run_ / "ckpt/step-000000000010/rank-0001.safetensors");
  const Outcome outcome = run_program("ls " + run_.path());
  EXPECT_EQ(outcome.status, 4);
  EXPECT_THAT(outcome.output, HasSubstr("damaged: rank-0001.safetensors"));
}

TEST_F(CkptProgram, DiffNamesWhatDiffersAndExitsWithFour) {
  const Outcome other =
      run_program("diff --step 10 --other-step 20 " + run_.path() + " " + run_.path());
  EXPECT_EQ(other.status, 4);
  EXPECT_THAT(other.output, HasSubstr("step 10 and step 20: DIFFERENT"));
  EXPECT_THAT(other.output, HasSubstr(" elements, by at most "));
  const Outcome same = run_program("diff " + run_.path() + " " + run_.path());
  EXPECT_EQ(same.status, 0) << same.output;
  EXPECT_THAT(same.output, HasSubstr("the same in every bit"));
  EXPECT_THAT(run_program("diff --json " + run_.path() + " " + run_.path()).output,
              HasSubstr("\"same\": true"));
}

TEST_F(CkptProgram, ReshardWritesARunThatGoesOnAndNeverOverAnother) {
  std::ofstream(run_ / "recipe.textproto") << "steps: 3";
  const TemporaryDirectory elsewhere;
  const std::string again = "reshard " + run_.path() + " --shards 3 --to " + elsewhere / "run";
  const Outcome outcome = run_program(again);
  EXPECT_EQ(outcome.status, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("step 20: "));
  EXPECT_EQ(run_program("diff " + run_.path() + " " + elsewhere / "run").status, 0);
  EXPECT_EQ(run_program("verify " + elsewhere / "run").status, 0);
  EXPECT_TRUE(std::filesystem::exists(elsewhere / "run/recipe.textproto"));
  EXPECT_EQ(run_program(again).status, 2);
}

TEST_F(CkptProgram, RmRemovesStepsButNotTheLastSoundOneUnasked) {
  damage();
  EXPECT_EQ(run_program("rm --step 30 " + run_.path()).status, 2);
  std::filesystem::remove(run_ / "ckpt/step-000000000020/rank-0001.safetensors");
  const Outcome refused = run_program("rm --step 10 " + run_.path());
  EXPECT_EQ(refused.status, 2) << refused.output;
  EXPECT_THAT(refused.output, HasSubstr("--even-the-last"));
  EXPECT_EQ(run_program("rm --step 20 " + run_.path()).status, 0);
  EXPECT_EQ(run_program("ls " + run_.path()).status, 0);
  EXPECT_EQ(run_program("rm --step 10 --even-the-last " + run_.path()).status, 0);
  EXPECT_THAT(run_program("ls " + run_.path()).output, HasSubstr("no checkpoint here yet"));
}

TEST_F(CkptProgram, WrongArgumentsExitWithTwoAndOneLine) {
  for (const std::string& arguments :
       {std::string(), std::string("ls"), std::string("ls /nowhere"), std::string("rm x"),
        "verify --step 30 " + run_.path(), "verify --step x " + run_.path()}) {
    const Outcome outcome = run_program(arguments);
    EXPECT_EQ(outcome.status, 2) << arguments;
    EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
  }
}

}  // namespace
}  // namespace kente
