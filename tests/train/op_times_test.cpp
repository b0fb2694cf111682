#include "csrc/train/op_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "csrc/base/file_system.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

TEST(OpProfileOfSteps, TakesMessagesAndWaitsOfItsOwnRankFromTheSpans) {
  const std::vector<TimelineSpan> spans = {{0, "F0.0", TimelineSpan::kCompute, 0, 1},
                                           {0, "SA0.0>1", TimelineSpan::kComm, 1, 1.25},
                                           {0, "RG0.0<1", TimelineSpan::kWait, 1.25, 3},
                                           {1, "RA0.1<0", TimelineSpan::kWait, 0, 1.25},
                                           {1, "F0.1", TimelineSpan::kCompute, 1.25, 4}};
  const OpProfile profile =
      op_profile(0, {{"norm", {2, 0.25, 0, 800}}, {"linear", {3, 0.5, 1e9, 400}}}, spans,
                 {.flops_per_second = 4e9, .bytes_per_second = 1000});
  EXPECT_EQ(profile.seconds, 4);
  EXPECT_EQ(profile.communication, 0.25);
  EXPECT_EQ(profile.waiting, 1.75);
  ASSERT_EQ(profile.ops.size(), 2u);
  EXPECT_EQ(profile.ops[0].name, "linear");
  EXPECT_EQ(profile.least_seconds(profile.ops[0]), 0.4);
  EXPECT_EQ(profile.least_seconds(profile.ops[1]), 0.8);
}

class OpTimes : public ExactRun {};

TEST_F(OpTimes, ARunWritesWhereEachRanksStepWent) {
  options_.train.recipe.steps = 12;
  options_.run_directories = {fresh_directory()};
  options_.train.plan = plan_from_borders({{0, 3, 6}, {0, 6}}, {10, 6});
  train_on_threads(options_, 3);
  const auto files = posix_file_system();
  const RunRecord run = read_run(*files, options_.run_directories.front());
  ASSERT_EQ(run.ops.size(), 3u);
  for (const OpProfile& profile : run.ops) {
    std::set<std::string> names;
    double sum = profile.communication + profile.waiting;
    for (const OpRecord& op : profile.ops) {
      names.insert(op.name);
      sum += op.seconds;
      EXPECT_GT(op.calls, 0) << op.name;
    }
    EXPECT_EQ(profile.rank, &profile - run.ops.data());
    EXPECT_GT(profile.roof.flops_per_second, 0);
    EXPECT_LE(sum, profile.seconds * 1.001);
    // Under EXACT sums are in fixed point; the head, and so the loss, is on the last stages.
    for (const char* name : {"linear", "attention", "norm", "AdamW", "fixed-point sums"})
      EXPECT_TRUE(names.contains(name)) << name;
    EXPECT_EQ(names.contains("cross-entropy"), profile.rank != 0);
    EXPECT_EQ(names.contains("embedding"), profile.rank != 1);
  }
}

}  // namespace
}  // namespace kente
