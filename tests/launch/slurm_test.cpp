#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "tests/support/program_run.h"

namespace kente {
namespace {

/// launch/slurm_job under a real Slurm: tests/launch/slurm_cluster.sh.
class Slurm : public ProgramRun {};

TEST_F(Slurm, AJobIsToldBeforeItsLimitQueuedAgainAndEndsWithTheUndisturbedBits) {
  ASSERT_EQ(::geteuid(), 0u) << "Slurm's node daemon needs root";
  recipe_.steps = 450;
  write("recipe.textproto", to_text(recipe_));
  // A step of 0.17 s: more in all than the limit of a minute leaves.
  const std::string layer = "{ forward: 1e-3 backward_input: 1e-3 backward_weight: 1e-3 ";
  write("imitation.textproto", "version: 1 rank { count: 2 embedding " + layer + "} block " +
                                   layer + "} head " + layer + "loss: 1e-3 } }");
  // A limit of a minute, and the order 45 s before it.
  write("job.sh",
        std::string("set -e\n") +
            "job=$(sbatch --parsable --ntasks=2 --overcommit --time=1 "
            "--signal=B:TERM@45 --output=" +
            directory_ / "job.out" + " " KENTE_SOURCE_DIR "/launch/slurm_job " +
            directory_ / "run" + " --recipe " + directory_ / "recipe.textproto" + " --data " +
            directory_.path() + " --imitate " + directory_ / "imitation.textproto" +
            " --plan even)\n"
            "end=$((SECONDS + 280)) moved=0\n"
            "until scontrol show job $job | grep -qE "
            "'JobState=(COMPLETED|FAILED|TIMEOUT|CANCELLED)'; do\n"
            "  [ $SECONDS -lt $end ] || break\n"
            // Slurm lets a job that is queued again wait for two minutes. Three seconds
            // will do, not none: a node takes no job in the second it ended it.
            "  restarts=$(scontrol show job $job | sed -n 's/.*Restarts=\\([0-9]*\\).*/\\1/p')\n"
            "  if [ $restarts -gt $moved ] && scontrol show job $job | grep -q JobState=PENDING\n"
            "  then\n"
            "    scontrol update JobId=$job StartTime=now+3 && moved=$restarts\n"
            "  fi\n"
            "  read -rt 0.5 <> <(:) || true\n"
            "done\n"
            "scontrol show job $job\n"
            "tail -n 20 \"${SLURM_CONF%.conf}ctld.log\" \"${SLURM_CONF%.conf}d.log\"\n");
  const CommandResult slurm = run_command(
      "KENTE_PROJECT=" KENTE_SOURCE_DIR " " KENTE_SOURCE_DIR "/tests/launch/slurm_cluster.sh " +
          directory_ / "slurm" + " bash " + directory_ / "job.sh",
      400);
  EXPECT_EQ(slurm.status, 0) << slurm.output;
  EXPECT_NE(slurm.output.find("JobState=COMPLETED"), std::string::npos)
      << slurm.output << read("job.out");
  EXPECT_EQ(slurm.output.find("Restarts=0"), std::string::npos) << slurm.output;
  const std::string events = read("run/events.jsonl");
  EXPECT_NE(events.find("\"event\":\"stopped\""), std::string::npos) << events << read("job.out");
  EXPECT_NE(events.find("\"event\":\"resume\""), std::string::npos) << events;
  run(train("alone", "--plan even"));
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
  EXPECT_EQ(digest("run").size(), 64u);
}

}  // namespace
}  // namespace kente
