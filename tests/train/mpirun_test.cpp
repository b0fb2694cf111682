#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include "csrc/base/clock.h"
#include "tests/support/program_run.h"

namespace kente {
namespace {

/// The real program under the real mpirun; see exact_test for the same claims with threads.
class Mpirun : public ProgramRun {};

TEST_F(Mpirun, SevenWaysToRunOneRecipeGiveTheSameBits) {
  run(train("one"));
  const auto expected = losses("one");
  ASSERT_EQ(expected.size(), 30u);
  const auto check = [&](const std::string& name) {
    EXPECT_EQ(losses(name), expected) << name;
    EXPECT_EQ(digest(name), digest("one")) << name;
  };
  run(mpirun(2) + train("two_stages", plan("p2", plan_from_borders({{0, 3, 6}}, {16}))));
  check("two_stages");
  const std::string four = plan("p4", plan_from_borders({{0, 1, 3, 5, 6}}, {16}));
  run(mpirun(4) + train("four_stages", four));
  check("four_stages");
  run(mpirun(2) + train("two_replicas", plan("p11", plan_from_borders({{0, 6}, {0, 6}}, {8, 8}))));
  check("two_replicas");
  run(mpirun(3) + train("unequal", plan("p21", plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4}))));
  check("unequal");
  Plan sharded = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
  sharded.shard_optimizer = true;
  sharded.replicas[0].stages[0].optimizer_weight = 3;
  sharded.replicas[1].stages[0].optimizer_weight = 1;
  run(mpirun(3) + train("sharded", plan("ps", sharded)));
  check("sharded");

  {
    Process doomed(mpirun(4) + train("killed", four + "--checkpoint-every 5"));
    const Deadline deadline = Deadline::after_seconds(kLimit);
    while (losses("killed").size() < 17 && !deadline.passed() && doomed.running())
      ::poll(nullptr, 0, 1);
    const auto victim = find_rank(2, directory_ / "killed");
    ASSERT_TRUE(victim.has_value()) << doomed.wait(1).output;
    ::kill(*victim, SIGKILL);
    EXPECT_NE(doomed.wait(kLimit).status, 0);
    EXPECT_LT(losses("killed").size(), 30u);
  }
  run(mpirun(2) + train("killed", "--resume --plan even"));
  check("killed");
}

TEST_F(Mpirun, APeerThatDiesEndsTheRunWithoutAHang) {
  Process doomed(mpirun(2) + train("dead", "--set steps=100000"));
  const Deadline deadline = Deadline::after_seconds(kLimit);
  while (losses("dead").size() < 3 && !deadline.passed()) ::poll(nullptr, 0, 5);
  const auto victim = find_rank(1, directory_ / "dead");
  ASSERT_TRUE(victim.has_value());
  ::kill(*victim, SIGKILL);
  const int64_t begin = now_ns();
  EXPECT_NE(doomed.wait(kLimit).status, 0);
  EXPECT_LT(seconds_since(begin), 20);
}

TEST_F(Mpirun, BadInputGivesOneLineAndStatus2) {
  const CommandResult unknown =
      run_command(mpirun(2) + train("bad", "--set model.hidden_sise=3"), kLimit);
  EXPECT_NE(unknown.output.find("hidden_sise"), std::string::npos) << unknown.output;
  const std::string mark = "kente: ";
  EXPECT_EQ(unknown.output.find(mark, unknown.output.find(mark) + 1), std::string::npos)
      << unknown.output;
  const CommandResult missing =
      run_command(train("bad2", "--set data.source[0].id=nowhere"), kLimit);
  EXPECT_EQ(missing.status, 2) << missing.output;
  EXPECT_NE(missing.output.find("nowhere"), std::string::npos) << missing.output;
}

}  // namespace
}  // namespace kente
