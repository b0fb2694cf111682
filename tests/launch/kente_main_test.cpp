#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::HasSubstr;

constexpr double kMainLimit = 60;  // seconds for one command

// The real front end, copied beside programs that only say how they were called.
class KenteMain : public testing::Test {
 protected:
  KenteMain() {
    std::filesystem::copy_file(std::string(KENTE_BINARY_DIR) + "/bin/kente", directory_ / "kente");
    script("kente-worker", "echo \"worker: $0: $*\"; exit 5");
  }
  void script(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << "#!/bin/sh\n" << text << "\n";
    std::filesystem::permissions(directory_ / name, std::filesystem::perms::owner_all);
  }
  CommandResult kente(const std::string& words) {
    return run_command((directory_ / "kente") + " " + words, kMainLimit);
  }

  TemporaryDirectory directory_;
};

TEST_F(KenteMain, BecomesTheProgramBesideItAndPassesItsStatusOn) {
  const CommandResult result = kente("train --recipe 'a b'");
  EXPECT_EQ(result.status, 5);
  EXPECT_EQ(result.output, "worker: " + (directory_ / "kente-worker") + ": train --recipe a b\n");
}

TEST_F(KenteMain, FindsTheProgramEvenWhenCalledThroughALink) {
  std::filesystem::create_directory(directory_ / "elsewhere");
  std::filesystem::create_symlink(directory_ / "kente", directory_ / "elsewhere/kente");
  EXPECT_EQ(run_command((directory_ / "elsewhere/kente") + " train", kMainLimit).status, 5);
}

TEST_F(KenteMain, AMissingProgramIsOneLineAndStatusTwo) {
  const CommandResult result = kente("report runs/x");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.output, HasSubstr("kente: cannot run " + (directory_ / "kente-report")));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
}

TEST_F(KenteMain, AnUnknownCommandIsOneLineAndStatusTwo) {
  const CommandResult result = kente("trian");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.output, HasSubstr("kente: 'trian' is not a command"));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
}

TEST_F(KenteMain, HelpAndVersionAreStatusZero) {
  EXPECT_EQ(kente("--help").status, 0);
  EXPECT_THAT(kente("--help").output, HasSubstr("usage: kente COMMAND"));
  EXPECT_EQ(kente("--version").status, 0);
}

TEST_F(KenteMain, ToolsRunInThePrivatePython) {
  const CommandResult result = kente("data prepare --help");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("kente data prepare"));
}

}  // namespace
}  // namespace kente
