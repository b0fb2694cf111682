#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "csrc/config/cluster.h"
#include "csrc/config/parse.h"
#include "csrc/plan/planner.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kLimit = 120;  // seconds for one command

/// kente train without --plan, under the real mpirun: two imitated ranks, the second three times as
/// fast, so that noise of this machine is small beside what is measured.
class AutoPlan : public testing::Test {
 protected:
  AutoPlan() {
    recipe_ = small_recipe(ModelFamily::kGpt2);
    recipe_.steps = 14;
    recipe_.data.sources[0].digest =
        write_learnable_source(directory_.path(), recipe_.model.vocab_size);
    write("recipe.textproto", to_text(recipe_));
    const std::string layer = "{ forward: 4e-3 backward_input: 4e-3 backward_weight: 4e-3 ";
    const auto rank = [&](const std::string& more) {
      return "rank { " + more + " embedding " + layer + "} block " + layer + "} head " + layer +
             "loss: 4e-3 } } ";
    };
    write("imitation.textproto",
          "version: 1 " + rank("kind: 'slow'") + rank("kind: 'fast' speed: 3"));
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
  }
  std::string read(const std::string& name) {
    std::stringstream text;
    text << std::ifstream(directory_ / name).rdbuf();
    return text.str();
  }
  std::string train(const std::string& run, const std::string& more = "") {
    const CommandResult result =
        run_command(mpirun(2) + " " + KENTE_BINARY_DIR + "/bin/kente train --recipe " +
                        directory_ / "recipe.textproto" + " --data " + directory_.path() +
                        " --imitate " + directory_ / "imitation.textproto" +
                        " --checkpoint-every 0 --out " + directory_ / ("runs/" + run) + " " + more,
                    kLimit);
    EXPECT_EQ(result.status, 0) << result.output;
    return result.output;
  }
  std::string digest(const std::string& run) {
    const std::string events = read("runs/" + run + "/events.jsonl");
    const size_t at = events.find("parameters_sha256 ");
    return at == std::string::npos ? "" : events.substr(at + 18, 64);
  }

  TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(AutoPlan, MeasuresPlansAndKeepsTheProfileForTheNextRun) {
  EXPECT_THAT(train("first"), HasSubstr(", measured in "));
  const Plan plan = load_plan(directory_ / "runs/first/plan.textproto", recipe_);
  ASSERT_TRUE(plan.prediction);
  // Whatever the shape, the fast rank does about three quarters: equal shares would take 16 / 2
  // grains of the slow one's 0.08 s, proportional ones half of that.
  EXPECT_LT(plan.prediction->step_seconds, 0.75 * 8 * (18 + 1) * 4e-3);
  EXPECT_THAT(train("second"), HasSubstr("measured before"));
  // The plan does not change the training.
  train("even", "--plan even");
  EXPECT_EQ(digest("first"), digest("even"));
  EXPECT_EQ(digest("first").size(), 64u);
}

TEST_F(AutoPlan, PredictedStandsBesideMeasuredAndBothAgree) {
  train("run");
  double predicted = 0;
  std::vector<double> seconds;
  std::istringstream lines(read("runs/run/run.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto step = nlohmann::json::parse(line);
    seconds.push_back(step["seconds"].get<double>());
    if (!step.contains("ranks")) continue;
    ASSERT_EQ(step["ranks"].size(), 2u);
    predicted = step["predicted_seconds"].get<double>();
    for (const auto& rank : step["ranks"])
      EXPECT_GT(rank["predicted"]["forward"].get<double>(), 0) << line;
  }
  ASSERT_GT(predicted, 0);
  // The median: this machine may be busy with other work and wake imitated devices late.
  std::nth_element(seconds.begin(), seconds.begin() + 7, seconds.end());
  EXPECT_NEAR(seconds[7] / predicted, 1, 0.3);
}

TEST_F(AutoPlan, LeavesMemoryForSnapshotsOrSaysThatThereIsNone) {
  recipe_.steps = 5;
  write("recipe.textproto", to_text(recipe_));
  EXPECT_THAT(train("first"), Not(HasSubstr("snapshots")));
  ClusterProfile tight = load_cluster(directory_ / "runs/first/cluster.textproto", recipe_);
  const auto give = [&](int64_t bytes) {
    for (DeviceProfile& device : tight.devices) device.memory_bytes = bytes;
  };
  // The least with which some plan fits when nothing is left for snapshots.
  int64_t least = 0, enough = int64_t{1} << 30;
  while (enough - least > 1) {
    const int64_t middle = (least + enough) / 2;
    give(middle);
    (make_plan(CostModel(recipe_, tight), {}).finalists.empty() ? least : enough) = middle;
  }
  give(enough);
  write("tight.textproto", to_text(tight));
  const std::string with = "--snapshot-every 1 --cluster " + directory_ / "tight.textproto";
  EXPECT_THAT(train("tight", with), HasSubstr("no memory is left for snapshots"));
  EXPECT_EQ(digest("tight"), digest("first"));
  give(2 * enough);
  write("tight.textproto", to_text(tight));
  EXPECT_THAT(train("roomy", with), Not(HasSubstr("no memory is left")));
  EXPECT_EQ(digest("roomy"), digest("first"));
}

TEST_F(AutoPlan, AMisSetProfileIsNoticedAndTheRankNamed) {
  train("right");
  ClusterProfile wrong = load_cluster(directory_ / "runs/right/cluster.textproto", recipe_);
  for (LayerCurve& curve : wrong.devices[1].curves)
    for (LayerSeconds& at : curve.at) {
      at.forward *= 2;
      at.loss *= 2;
      at.backward_input *= 2;
      at.backward_weight *= 2;
    }
  write("wrong.textproto", to_text(wrong));
  const std::string shown =
      train("wrong", "--keep-plan --cluster " + directory_ / "wrong.textproto");
  EXPECT_THAT(read("runs/wrong/events.jsonl"), HasSubstr("\"event\":\"drift\""));
  EXPECT_THAT(read("runs/wrong/events.jsonl"), HasSubstr("rank 1 (rank-1)"));
  EXPECT_THAT(read("runs/wrong/report.html"), HasSubstr("rank 1 (rank-1)"));
  EXPECT_THAT(shown, HasSubstr("--replan"));
  // Planned anew from what the steps measured, the fast rank is as fast as it is.
  EXPECT_THAT(train("wrong", "--resume --replan"),
              HasSubstr("planned anew from what the run's steps measured"));
  EXPECT_THAT(train("wrong", "--resume"), Not(HasSubstr("planned anew")));
}

TEST_F(AutoPlan, ARankThatSlowsDownLosesWorkAndGetsItBackWhenItRecovers) {
  // Two equal ranks with ten per cent of noise; the second takes four times as long from step 30 to
  // step 79.
  const std::string layer = "{ forward: 5e-4 backward_input: 5e-4 backward_weight: 5e-4 ";
  const std::string rank =
      "noise: 0.1 embedding " + layer + "} block " + layer + "} head " + layer + "loss: 5e-4 } } ";
  write("imitation.textproto",
        "version: 1 rank { " + rank +
            "rank { drift_after_steps: 30 drift_for_steps: 50 drift_factor: 4 " + rank);
  train("run", "--set steps=130 --snapshot-every 1");
  std::vector<int64_t> drifts, changes;
  std::istringstream events(read("runs/run/events.jsonl"));
  for (std::string line; std::getline(events, line);) {
    const auto event = nlohmann::json::parse(line);
    const int64_t step = event["step"];
    const std::string detail = event["detail"];
    if (event["event"] == "drift" && detail.find("rank 1 (") != std::string::npos)
      drifts.push_back(step);
    if (event["event"] == "rebalance") changes.push_back(step);
  }
  ASSERT_FALSE(drifts.empty()) << read("runs/run/events.jsonl") << read("runs/run/plan.textproto");
  EXPECT_LE(drifts.front(), 30 + 20) << "found within twenty steps";
  ASSERT_EQ(changes.size(), 2u) << "away and back, and nothing else";
  EXPECT_GT(changes[0], 30);
  EXPECT_LE(changes[0], 30 + 32);
  EXPECT_GT(changes[1], 80);
  EXPECT_LE(changes[1], 80 + 32);
  write("imitation.textproto", "version: 1 rank { count: 2 }");  // as fast as they are
  train("alone", "--set steps=130 --plan even --snapshot-every 0");
  EXPECT_EQ(digest("run"), digest("alone"));
  EXPECT_EQ(digest("run").size(), 64u);
  EXPECT_THAT(read("runs/run/report.html"), HasSubstr("rebalance"));
}

TEST_F(AutoPlan, AProfileForOtherRanksOrLayersIsRefusedWithWhatToDo) {
  train("run");
  const auto refused = [&](int ranks, const std::string& more) {
    return run_command(mpirun(ranks) + " " + KENTE_BINARY_DIR + "/bin/kente train --recipe " +
                           directory_ / "recipe.textproto" + " --data " + directory_.path() +
                           " --cluster " + directory_ / "runs/run/cluster.textproto" + " --out " +
                           directory_ / "runs/refused" + " " + more,
                       kLimit);
  };
  const CommandResult ranks = refused(1, "");
  EXPECT_EQ(ranks.status, 2) << ranks.output;
  EXPECT_THAT(ranks.output, HasSubstr("a profile of 2 ranks, but 1 were started"));
  const CommandResult layers = refused(2, "--set model.vocab_size=128");
  EXPECT_EQ(layers.status, 2) << layers.output;
  EXPECT_THAT(layers.output, HasSubstr("measured.vocab_size is 96, the recipe's is 128"));
}

}  // namespace
}  // namespace kente
