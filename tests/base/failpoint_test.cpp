#include "csrc/base/failpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "csrc/base/errors.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

TEST(Failpoint, RefusesWhatItDoesNotKnowAndSaysWhat) {
  const auto refused = [](const std::string& text, const std::string& what) {
    try {
      arm_failpoints({.failpoints = text, .log = ""});
      ADD_FAILURE() << text;
    } catch (const UsageError& failure) {
      EXPECT_NE(std::string(failure.what()).find(what), std::string::npos) << failure.what();
    }
  };
  refused("storage.sink=kill@1", "\"storage.sink\" is unknown");
  refused("storage.sync=explode@1", "\"explode\" is unknown");
  refused("storage.sync=kill@one", "\"one\" is no number");
  refused("storage.sync", "no action");
  refused("storage.sync=kill@1:rang=2", "\"rang=2\" is unknown");
  refused("storage.sync=kill@1,", "no action");
}

TEST(Failpoint, ActsAtItsHitInTheProcessItIsMeantFor) {
  const std::string both = "storage.sync=enospc@2:rank=1,storage.rename=eio@1:incarnation=7";
  arm_failpoints({.failpoints = both, .log = "", .rank = 1, .incarnation = 6});
  EXPECT_NO_THROW(KENTE_FAILPOINT("storage.rename"));
  EXPECT_NO_THROW(KENTE_FAILPOINT("storage.sync"));
  EXPECT_THROW(KENTE_FAILPOINT("storage.sync"), StorageError);
  EXPECT_NO_THROW(KENTE_FAILPOINT("storage.sync"));
  arm_failpoints({.failpoints = "", .log = ""});
}

TEST(Failpoint, KillsAndLeavesALineThatSaysWhere) {
  const TemporaryDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    arm_failpoints(
        {.failpoints = "comm.send=kill@3", .log = directory / "log", .rank = 4, .incarnation = 2});
    for (int i = 0; i < 5; ++i) KENTE_FAILPOINT("comm.send");
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  std::stringstream log;
  log << std::ifstream(directory / "log").rdbuf();
  EXPECT_NE(log.str().find(" 4 2 comm.send reached\n"), std::string::npos) << log.str();
  EXPECT_NE(log.str().find(" 4 2 comm.send kill\n"), std::string::npos) << log.str();
}

}  // namespace
}  // namespace kente
