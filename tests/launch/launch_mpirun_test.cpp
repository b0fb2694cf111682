#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>

#include "csrc/base/clock.h"
#include "tests/support/program_run.h"

namespace kente {
namespace {

/// kente launch with real ranks that are killed, frozen and stopped.
class Launch : public ProgramRun {
 protected:
  Launch() {
    recipe_.steps = 120;
    write("recipe.textproto", to_text(recipe_));
    plan_ = plan("plan", plan_from_borders({{0, 2, 6}, {0, 4, 6}}, {9, 7}));
    ::setenv("KENTE_SHM_DIRECTORY", (directory_ / "shm").c_str(), 1);
  }
  ~Launch() override { ::unsetenv("KENTE_SHM_DIRECTORY"); }
  std::string launch(const std::string& run, const std::string& more) {
    return "exec " + kente("launch", run, checkpoints_ + more);
  }
  std::string events(const std::string& run) { return read(run + "/events.jsonl"); }
  /// How often an event of this kind was recorded.
  int count(const std::string& run, const std::string& kind) {
    return occurrences(run, "\"event\":\"" + kind + "\"");
  }
  /// How often the events hold that text.
  int occurrences(const std::string& run, const std::string& wanted) {
    int found = 0;
    const std::string all = events(run);
    for (size_t at = all.find(wanted); at != std::string::npos; at = all.find(wanted, at + 1))
      ++found;
    return found;
  }
  bool reaches(Process& program, const std::string& run, int64_t step) {
    return until(program, [&] { return losses(run).contains(step); });
  }
  /// Files in shared memory that a run left.
  int64_t snapshots() {
    int64_t found = 0;
    std::error_code none;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(directory_ / "shm", none))
      found += entry.is_regular_file();
    return found;
  }
  void expect_nothing_left(const std::string& run) {
    EXPECT_EQ(find_processes(directory_ / run), std::vector<pid_t>());
  }

  std::string plan_, checkpoints_ = "--checkpoint-every 5 ";
};

TEST_F(Launch, SurvivesAKilledAndAFrozenRankAndALostMpirunWithTheUndisturbedBits) {
  run(train("alone", "--plan even"));
  // Steps take milliseconds: a snapshot may be left out, and then a checkpoint is newer, rightly.
  checkpoints_ = "--checkpoint-every 1000 ";
  Process program(launch("run", plan_ + "-n 4 --silence 1"));
  ASSERT_TRUE(reaches(program, "run", 20)) << program.wait(1).output;
  ::kill(find_rank(2, directory_ / "run").value(), SIGKILL);
  ASSERT_TRUE(until(program, [&] { return count("run", "recovered") >= 1; })) << events("run");
  ASSERT_TRUE(reaches(program, "run", 50));
  ::kill(find_rank(1, directory_ / "run").value(), SIGSTOP);
  ASSERT_TRUE(until(program, [&] { return count("run", "recovered") >= 2; })) << events("run");
  EXPECT_EQ(find_processes(directory_ / "run").size(), 6u) << "launch, mpirun and its four ranks";
  ASSERT_TRUE(reaches(program, "run", 80));
  int killed = 0;
  for (const char* name : {"mpirun", "prterun"}) {  // the second is what Open MPI 5's becomes
    const std::vector<pid_t> mpiruns = find_processes(name);
    for (const pid_t pid : find_processes(directory_ / "run"))
      if (std::find(mpiruns.begin(), mpiruns.end(), pid) != mpiruns.end())
        killed += ::kill(pid, SIGKILL) == 0;
  }
  EXPECT_EQ(killed, 1);
  ASSERT_TRUE(until(program, [&] { return count("run", "recovered") >= 3; })) << events("run");
  const CommandResult result = program.wait(kLimit);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
  EXPECT_EQ(digest("run").size(), 64u);
  expect_nothing_left("run");
  EXPECT_EQ(snapshots(), 0) << "the last step is stored";
  EXPECT_EQ(count("run", "resume"), 3);
  EXPECT_NE(run(std::string(KENTE_BINARY_DIR) + "/bin/kente data ledger " + directory_ / "run")
                .output.find("each of them once"),
            std::string::npos);
  for (size_t at = events("run").find("\"resume\""); at != std::string::npos;
       at = events("run").find("\"resume\"", at + 1))
    EXPECT_NE(events("run").substr(at, 200).find("from the snapshot in memory"), std::string::npos);
  EXPECT_NE(events("run").find("rank 2 on "), std::string::npos) << events("run");
  EXPECT_NE(events("run").find("rank 1: no heartbeat for 1."), std::string::npos) << events("run");
  EXPECT_GT(std::filesystem::file_size(directory_ / "run/logs/hung-rank-0001-2.txt"), 0u);
}

TEST_F(Launch, RanksThatStoodByTakeOverWithTheUndisturbedBits) {
  recipe_.steps = 400;
  write("recipe.textproto", to_text(recipe_));
  run(train("alone", "--plan even"));
  Process program(launch("run", plan_ + "-n 4 --standby"));
  for (int failure = 1; failure <= 2; ++failure) {
    ASSERT_TRUE(until(program, [&] { return count("run", "standby") == failure; }))
        << events("run");
    EXPECT_EQ(find_processes(directory_ / "run").size(), 11u) << "two mpiruns with four ranks each";
    ::kill(find_rank(2, directory_ / "run", failure).value(), SIGKILL);
    ASSERT_TRUE(until(program, [&] { return count("run", "recovered") == failure; }))
        << events("run");
  }
  const CommandResult result = program.wait(kLimit);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
  expect_nothing_left("run");
  EXPECT_EQ(occurrences("run", "by those that stood by"), 2) << events("run");
}

TEST_F(Launch, StopsByOrderWithAStoredStepAndAtOnceByASecondOrder) {
  recipe_.steps = 100000;
  write("recipe.textproto", to_text(recipe_));
  {
    Process program(launch("run", "-n 2 --plan even"));
    ASSERT_TRUE(reaches(program, "run", 7)) << program.wait(1).output;
    ::kill(program.pid(), SIGINT);
    const CommandResult result = program.wait(30);
    EXPECT_EQ(result.status, 5) << result.output;
    EXPECT_EQ(count("run", "stopped"), 1) << events("run");
    const int64_t last = losses("run").rbegin()->first;
    EXPECT_NE(events("run").find("\"event\":\"checkpoint\",\"step\":" + std::to_string(last)),
              std::string::npos)
        << events("run");
    expect_nothing_left("run");
    EXPECT_EQ(snapshots(), 0) << "the last step is stored";
    const auto status = [&](const std::string& of) {
      return run(std::string(KENTE_BINARY_DIR) + "/bin/kente status " + directory_ / of).output;
    };
    const std::string stored = "newest checkpoint: step " + std::to_string(last);
    EXPECT_NE(status("run").find(stored + "\n"), std::string::npos) << status("run");
    run("cp -r " + directory_ / "run " + directory_ / "torn && rm " +
        directory_ / "torn/ckpt/*/rank-0001.safetensors");
    EXPECT_NE(status("torn").find(stored + ", DAMAGED"), std::string::npos) << status("torn");
  }
  Process program(launch("run", "-n 2 --plan even --resume"));
  ASSERT_TRUE(reaches(program, "run", losses("run").rbegin()->first + 3));
  ::kill(program.pid(), SIGTERM);
  ::kill(program.pid(), SIGINT);
  EXPECT_EQ(program.wait(10).status, 5);
  expect_nothing_left("run");
  EXPECT_GT(snapshots(), 0) << "memory alone holds the last steps";
}

TEST_F(Launch, WhatStartingAgainWouldNotHelpIsNotStartedAgain) {
  const CommandResult wrong =
      run_command(launch("run", "-n 2 --plan even --set model.hidden_sise=3"), kLimit);
  EXPECT_EQ(wrong.status, 2) << wrong.output;
  const CommandResult missing =
      run_command(launch("other", "-n 2 --plan even --set data.source[0].id=nowhere"), kLimit);
  EXPECT_EQ(missing.status, 2) << missing.output;
  EXPECT_EQ(count("other", "launch"), 1);
  EXPECT_NE(missing.output.find("nowhere"), std::string::npos);
}

TEST_F(Launch, GivesUpAfterSoManyStartsThatFinishNoStep) {
  write("mpirun", "#!/bin/sh\necho no network\nexit 3\n");
  std::filesystem::permissions(directory_ / "mpirun", std::filesystem::perms::owner_all);
  const CommandResult result =
      run_command(launch("run", "-n 2 --max-failures 2 --mpirun " + directory_ / "mpirun"), kLimit);
  EXPECT_EQ(result.status, 3) << result.output;
  EXPECT_EQ(count("run", "launch"), 3);
  EXPECT_EQ(count("run", "gave up"), 1);
  EXPECT_NE(result.output.find("no network"), std::string::npos) << "what it printed is shown";
}

TEST_F(Launch, ASecondSupervisorOfARunIsRefusedAndTheFirstGoesOn) {
  Process program(launch("run", "-n 2 --plan even"));
  ASSERT_TRUE(reaches(program, "run", 3));
  const CommandResult second = run_command(launch("run", "-n 2 --plan even --resume"), kLimit);
  EXPECT_EQ(second.status, 2);
  EXPECT_NE(second.output.find("process " + std::to_string(program.pid())), std::string::npos)
      << second.output;
  EXPECT_EQ(program.wait(kLimit).status, 0);
}

TEST_F(Launch, ChaosDisturbsTheRunAndJudgesItAtTheEnd) {
  run(train("alone", "--plan even"));
  const CommandResult result =
      run_command(launch("run", plan_ + "-n 4 --silence 1 --chaos 11 --chaos-every 1.5"), kLimit);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_GE(count("run", "chaos"), 1) << events("run");
  EXPECT_EQ(count("run", "chaos judged"), 1);
  EXPECT_NE(events("run").find("the last step is stored and verifies"), std::string::npos);
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
  expect_nothing_left("run");
}

TEST_F(Launch, PrintsTheExactCommand) {
  const CommandResult result =
      run_command(launch("run", "-n 3 --set steps=7 --print-command"), kLimit);
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.output.find(" -n 3 "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("kente-worker train --out "), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("--set steps=7"), std::string::npos) << result.output;
  EXPECT_FALSE(std::filesystem::exists(directory_ / "run"));
}

}  // namespace
}  // namespace kente
