#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "csrc/config/parse.h"
#include "tests/support/processes.h"
#include "tests/support/random_clusters.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr double kPlanLimit = 60;  // seconds for one command

/// The quickstart recipe on one fast and two slow devices, planned by the program.
class PlanMain : public testing::Test {
 protected:
  PlanMain() {
    recipe_ = load_recipe(std::string(KENTE_SOURCE_DIR) + "/recipes/quickstart.textproto");
    write_cluster("c.textproto", 4000);
  }

  void write_cluster(const std::string& name, int64_t mib) {
    ClusterProfile cluster;
    cluster.name = "three";
    cluster.measured = measured_layers(recipe_);
    cluster.devices = {made_up_device("fast", 1, mib << 20), made_up_device("slow", 2, mib << 20)};
    cluster.devices[1].count = 2;
    link_all(cluster, 1e-4, 1e9);
    std::ofstream(directory_ / name) << to_text(cluster);
  }
  CommandResult plan(const std::string& words, const std::string& cluster = "c.textproto") {
    return run_command(std::string(KENTE_BINARY_DIR) + "/bin/kente plan --recipe " +
                           KENTE_SOURCE_DIR + "/recipes/quickstart.textproto --cluster " +
                           (directory_ / cluster) + " " + words,
                       kPlanLimit);
  }
  std::string text_of(const std::string& name) const {
    std::ifstream file(directory_ / name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(PlanMain, PrintsATableOfAtMostAHundredColumnsAndWritesThePlan) {
  const CommandResult result = plan("--out " + (directory_ / "p.textproto"));
  ASSERT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("predicted: step"), HasSubstr("bottleneck: rank"),
                                   HasSubstr("runners-up"), HasSubstr("of 4000 MiB")));
  std::stringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  const Plan written = load_plan(directory_ / "p.textproto", recipe_);
  ASSERT_TRUE(written.prediction);
  EXPECT_EQ(written.prediction->peak_bytes.size(), 3u);
  EXPECT_EQ(plan("").output, result.output) << "the same input gives the same plan";
}

TEST_F(PlanMain, SimulateWritesATraceWithATrackARankAndAPageThatLoadsNothing) {
  const CommandResult result = plan("--simulate " + (directory_ / "sim"));
  ASSERT_EQ(result.status, 0) << result.output;
  const auto trace = nlohmann::json::parse(text_of("sim/trace.json"));
  std::set<int> tracks;
  double end = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    tracks.insert(event.at("tid").get<int>());
    EXPECT_GT(event.at("dur").get<double>(), 0);
    end = std::max(end, event.at("ts").get<double>() + event.at("dur").get<double>());
  }
  EXPECT_THAT(tracks, testing::ElementsAre(0, 1, 2));
  const auto json = nlohmann::json::parse(plan("--json").output);
  EXPECT_NEAR(end * 1e-6, json.at("step_seconds").get<double>(), 1e-9);
  const std::string page = text_of("sim/plan.html");
  EXPECT_THAT(page, AllOf(HasSubstr("class=\"timeline\""), HasSubstr("class=\"plan\""),
                          HasSubstr("prefers-color-scheme: dark"), HasSubstr("Runners-up")));
  EXPECT_THAT(page,
              AllOf(Not(HasSubstr("http")), Not(HasSubstr(" src=")), Not(HasSubstr("@import"))));
}

TEST_F(PlanMain, JsonHoldsThePlanAndWhyTheOthersLost) {
  const CommandResult result = plan("--json --objective time --schedule gpipe");
  ASSERT_EQ(result.status, 0) << result.output;
  const auto json = nlohmann::json::parse(result.output);
  const Plan best = parse_plan(json.at("plan"), "json", recipe_);
  EXPECT_EQ(best.schedule, ScheduleKind::kGPipe);
  EXPECT_EQ(json.at("runners_up").size(), 5u);
  for (const auto& other : json.at("runners_up")) EXPECT_NE(other.at("why_not"), "");
}

TEST_F(PlanMain, ScoresAPlanOfAFileAndRefusesRanksTheClusterLacks) {
  ASSERT_EQ(plan("--out " + (directory_ / "p.textproto")).status, 0);
  const CommandResult scored = plan("--plan " + (directory_ / "p.textproto"));
  EXPECT_EQ(scored.status, 0);
  EXPECT_THAT(scored.output, AllOf(HasSubstr("predicted: step"), Not(HasSubstr("runners-up"))));
  std::ofstream(directory_ / "far.textproto")
      << "version: 1 replica { stage { ranks: 7 layers { first: 0 last: 7 } } }";
  const CommandResult refused = plan("--plan " + (directory_ / "far.textproto"));
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("far.textproto"), HasSubstr("names rank 7"),
                                    HasSubstr("there are 3")));
}

TEST_F(PlanMain, WarnsOfAPlanThatDoesNotFit) {
  write_cluster("small.textproto", 200);
  std::ofstream(directory_ / "p.textproto")
      << "version: 1 replica { stage { ranks: 0 layers { first: 0 last: 7 } } }";
  const CommandResult result = plan("--plan " + (directory_ / "p.textproto"), "small.textproto");
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, AllOf(HasSubstr("warning"), HasSubstr("rank 0 (fast) needs"),
                                   HasSubstr("recompute: FULL")));
}

TEST_F(PlanMain, WhenNothingFitsSaysInOneLineWhatIsMissingAndWhatWouldDo) {
  write_cluster("tiny.textproto", 160);
  const CommandResult result = plan("", "tiny.textproto");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("no plan fits"), HasSubstr("lacks"), HasSubstr("more on rank")));
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1);
}

TEST_F(PlanMain, WhatIfAddsMeasuredDevicesOverALink) {
  const std::string more = (directory_ / "c.textproto") + ":fast:1,latency=1e-4,bandwidth=1e9";
  const CommandResult result = plan("--what-if " + more);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("fast-2"), HasSubstr("on 4 ranks"),
                                   HasSubstr("with the added devices"), HasSubstr(": -")));
  const CommandResult wrong =
      plan("--what-if " + (directory_ / "c.textproto") + ":newest,latency=0,bandwidth=1e9");
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.output, HasSubstr("there is no device \"newest\"; it has fast, slow"));
}

TEST_F(PlanMain, AnObjectiveWithoutPricesIsRefused) {
  const CommandResult result = plan("--objective money");
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.output, HasSubstr("\"fast\" has no price_per_hour"));
}

}  // namespace
}  // namespace kente
