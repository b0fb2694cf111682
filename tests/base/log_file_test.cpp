#include "csrc/base/log_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <thread>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

std::string lines_of(const std::string& path) { return read_text_file(path, 1 << 20); }

TEST(LogFile, HoldsEveryLineWithTimeLevelAndRankAsSoonAsItIsWritten) {
  const TemporaryDirectory directory;
  const auto log = open_log(directory / "rank-0003.log", 3);
  log->info("step 1");
  EXPECT_THAT(lines_of(directory / "rank-0003.log"),
              MatchesRegex("....-..-..T..:..:..\\.... info rank 3 step 1\n"));
  log->warn("slow disk");
  log->error("disk full");
  EXPECT_THAT(lines_of(directory / "rank-0003.log"), HasSubstr("warning rank 3 slow disk\n"));
  EXPECT_THAT(lines_of(directory / "rank-0003.log"), HasSubstr("error rank 3 disk full\n"));
}

TEST(LogFile, RepeatsWarningsAndErrorsOnStderrAndNoInfo) {
  const TemporaryDirectory directory;
  testing::internal::CaptureStderr();
  {
    const auto log = open_log(directory / "log", 1);
    log->info("quiet");
    log->warn("loud");
    log->error("louder");
  }
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_EQ(shown, "kente: warning: rank 1: loud\nkente: error: rank 1: louder\n");
}

TEST(LogFile, DoesNotReadBracesAsAFormat) {
  const TemporaryDirectory directory;
  const auto log = open_log(directory / "log", 0);
  log->info("{} {0} {oops} %s %d");
  EXPECT_THAT(lines_of(directory / "log"), HasSubstr("{} {0} {oops} %s %d\n"));
}

TEST(LogFile, KeepsWhatAnEarlierProcessWrote) {
  const TemporaryDirectory directory;
  open_log(directory / "log", 0)->info("before the restart");
  open_log(directory / "log", 0)->info("after the restart");
  EXPECT_THAT(lines_of(directory / "log"), HasSubstr("before the restart"));
  EXPECT_THAT(lines_of(directory / "log"), HasSubstr("after the restart"));
}

TEST(LogFile, KeepsLinesOfManyThreadsWhole) {
  const TemporaryDirectory directory;
  const auto log = open_log(directory / "log", 0);
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) log->info("abcdefghijklmnopqrstuvwxyz");
    });
  }
  for (std::thread& t : threads) t.join();
  std::istringstream lines(lines_of(directory / "log"));
  std::string line;
  int count = 0;
  for (; std::getline(lines, line); ++count) {
    EXPECT_THAT(line, testing::EndsWith(" info rank 0 abcdefghijklmnopqrstuvwxyz"));
  }
  EXPECT_EQ(count, 800);
}

TEST(LogFile, ThatCannotBeOpenedIsAStorageErrorWithItsPath) {
  const TemporaryDirectory directory;
  try {
    open_log(directory.path(), 0);
    FAIL() << "opened a directory as a log";
  } catch (const StorageError& failure) {
    EXPECT_THAT(failure.what(), HasSubstr(directory.path() + ": cannot open the log"));
  }
}

TEST(LogFile, NullLogShowsNothing) {
  testing::internal::CaptureStderr();
  null_log()->error("nobody hears");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("nobody")));
}

}  // namespace
}  // namespace kente
