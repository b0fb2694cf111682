#include "csrc/base/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kente {
namespace {

using testing::HasSubstr;

TEST(Errors, EachTypeHasItsExitStatus) {
  EXPECT_EQ(exit_status(UsageError("x")), ExitStatus::kUsage);
  EXPECT_EQ(exit_status(FormatError("f", 1, "x")), ExitStatus::kUsage);
  EXPECT_EQ(exit_status(PeerError("x")), ExitStatus::kPeer);
  EXPECT_EQ(exit_status(DeviceError("x")), ExitStatus::kPeer);
  EXPECT_EQ(exit_status(StorageError("x")), ExitStatus::kStorage);
  EXPECT_EQ(exit_status(InternalError("x")), ExitStatus::kBug);
}

TEST(Errors, AForeignExceptionIsABug) {
  EXPECT_EQ(exit_status(std::runtime_error("x")), ExitStatus::kBug);
  EXPECT_EQ(exit_status(std::bad_alloc()), ExitStatus::kBug);
}

TEST(Errors, ExitStatusesAreTheDocumentedNumbers) {
  EXPECT_EQ(static_cast<int>(ExitStatus::kDone), 0);
  EXPECT_EQ(static_cast<int>(ExitStatus::kBug), 1);
  EXPECT_EQ(static_cast<int>(ExitStatus::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitStatus::kPeer), 3);
  EXPECT_EQ(static_cast<int>(ExitStatus::kStorage), 4);
  EXPECT_EQ(static_cast<int>(ExitStatus::kStopped), 5);
}

TEST(FormatError, NamesFileAndOffset) {
  const FormatError failure("shard-0.safetensors", 8, "header of 9 bytes");
  EXPECT_STREQ(failure.what(), "shard-0.safetensors: byte 8: header of 9 bytes");
  EXPECT_EQ(failure.file(), "shard-0.safetensors");
  EXPECT_EQ(failure.offset(), 8);
}

TEST(FormatError, LeavesOutAnOffsetItDoesNotHave) {
  EXPECT_STREQ(FormatError("manifest", -1, "no version").what(), "manifest: no version");
}

TEST(Check, SaysFileLineClaimAndDetail) {
  const int want = 3;
  try {
    KENTE_CHECK(want == 4, "got " + std::to_string(want));
    FAIL() << "did not throw";
  } catch (const InternalError& failure) {
    EXPECT_THAT(failure.what(), HasSubstr("errors_test.cpp:"));
    EXPECT_THAT(failure.what(), HasSubstr("want == 4 does not hold: got 3"));
  }
}

TEST(Check, EvaluatesTheDetailOnlyWhenTheClaimFails) {
  bool evaluated = false;
  const auto detail = [&] {
    evaluated = true;
    return std::string();
  };
  KENTE_CHECK(!evaluated, detail());
  EXPECT_FALSE(evaluated);
}

}  // namespace
}  // namespace kente
