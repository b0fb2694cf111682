#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/report/svg.h"
#include "tests/report/synthetic_run.h"

namespace kente {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{TITLE}}";

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(Page, ColoursTheSchedulesOwnActionsByTheirPass) {
  const auto picture = [](const std::string& label, TimelineSpan::Kind kind) {
    return timeline_svg({{0, label, kind, 0.0, 1.0}}, 600);
  };
  EXPECT_THAT(picture("F2.0", TimelineSpan::kCompute), HasSubstr("\"span fwd\""));
  EXPECT_THAT(picture("BI2.0", TimelineSpan::kCompute), HasSubstr("\"span bwd\""));
  EXPECT_THAT(picture("BW2.0", TimelineSpan::kCompute), HasSubstr("\"span wgt\""));
  EXPECT_THAT(picture("S", TimelineSpan::kCompute), HasSubstr("\"span other\""));
  EXPECT_THAT(picture("RA2.0<1", TimelineSpan::kWait), HasSubstr("\"span wait\""));
}

TEST(Page, ShowsEveryPartOfARun) {
  const std::string page = report_html(synthetic_run(200));
  for (const char* part : {"final loss",
                           "bits per byte",
                           "byte trigram",
                           "<h2>Loss</h2>",
                           "<h2>Speed</h2>",
                           "One step, rank by rank",
                           "<h2>Predicted and measured</h2>",
                           "rank 1, old-laptop",
                           "<b>+16.0 %</b>",
                           "<h2>The plan</h2>",
                           "replica 1",
                           "75 % of the batch",
                           "embed – 1",
                           "5 – head",
                           "GPL-2+ or CC-BY-SA-3.0",
                           "example-lab",
                           "Open MPI",
                           "16.0 GiB",
                           "recipe.textproto",
                           "checkpoint step 40",
                           ">F0<",
                           ">BW5<",
                           "prefers-color-scheme: dark"})
    EXPECT_THAT(page, HasSubstr(part));
}

TEST(Page, LoadsNothingFromAnywhere) {
  const std::string page = report_html(synthetic_run(200));
  for (const char* pointer : {"http:", "https:", "src=", "url(", "@import", "<link", "<iframe"})
    EXPECT_THAT(page, Not(HasSubstr(pointer)));
}

TEST(Page, HostileTextStaysText) {
  RunRecord run = synthetic_run(30);
  Environment environment = synthetic_environment();
  environment.name = environment.description = environment.cpu = kHostile;
  environment.hosts = {kHostile};
  environment.versions = {{kHostile, kHostile}};
  for (Environment::Source& source : environment.sources)
    source.title = source.licence = source.language = source.lab = source.digest = kHostile;
  for (Environment::Replica& replica : environment.mesh)
    for (Environment::Stage& stage : replica.stages) stage.dtype = stage.recompute = kHostile;
  for (StepRecord& step : run.steps)
    for (RankRecord& rank : step.ranks) rank.device = kHostile;
  for (TimelineSpan& span : run.timeline) span.label = kHostile;
  for (OpProfile& profile : run.ops)
    for (OpRecord& op : profile.ops) op.name = kHostile;
  run.validations.back().sources[0].id = kHostile;
  run.events = {kHostile};
  run.recipe_text = run.plan_text = run.directory = kHostile;
  run.environment_json = to_json(environment);
  const std::string page = report_html(run);
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_EQ(count(page, "<script>"), 1u);
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)"));
}

TEST(Page, OperationsShowWhatTheyTookAndWhatTheyTakeAtLeast) {
  const std::string page = report_html(synthetic_run(30));
  // Products 1.2 of 2 s, bytes 0.2, communication 0.1, waiting 0.3; the rest is between them.
  for (const char* part :
       {"products 60.0 %", "only move bytes 10.0 %", "communication 5.0 %", "waiting 15.0 %",
        "between operations 10.0 %", "cross-entropy", "class=\"roofline\"", "FLOP a byte"})
    EXPECT_THAT(page, HasSubstr(part));
  // linear: 1 s for 80 GFLOP at 100 G a second; cross-entropy: 0.2 s for 1.6 GB at 10.
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">80 %</td><td class=\"n\"><b>200.0 ms</b>"));
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">80 %</td><td class=\"n\"><b>40.0 ms</b>"));
}

TEST(Page, WithoutCeilingsOrTimesHasNoRooflineAndNoNaN) {
  RunRecord run = synthetic_run(30);
  for (OpProfile& profile : run.ops) {
    profile.roof = {};
    for (OpRecord& op : profile.ops) op.seconds = op.bytes = 0;
  }
  const std::string page = report_html(run);
  EXPECT_THAT(page, Not(HasSubstr("class=\"roofline\"")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(Page, OfAnEmptyRunSaysSo) {
  RunRecord run;
  run.directory = "runs/empty";
  const std::string page = report_html(run);
  EXPECT_THAT(page, HasSubstr("No steps yet"));
  EXPECT_THAT(page, Not(HasSubstr("<svg")));
}

TEST(Page, OfOneStepHasADotAndNoNaN) {
  const std::string page = report_html(synthetic_run(1));
  EXPECT_THAT(page, HasSubstr("<circle"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("inf,")));
}

TEST(Page, OfAHundredThousandStepsStaysBelowOneMegabyte) {
  RunRecord run = synthetic_run(100000);
  for (int i = 0; i < 20000; ++i) {
    run.events.push_back(std::string(2000, 'e'));
    run.timeline.push_back({i % 300, "F1", TimelineSpan::kCompute, 0.1 * i, 0.1 * i + 0.05});
  }
  run.recipe_text = std::string(1 << 20, 'r');
  EXPECT_LT(report_html(run).size(), 1000000u);
}

TEST(Page, LossThatIsNotANumberIsLeftOutOfTheChart) {
  RunRecord run = synthetic_run(20);
  run.steps[7].loss = std::numeric_limits<float>::quiet_NaN();
  run.steps[8].tokens_per_second = std::numeric_limits<double>::infinity();
  run.validations.back().loss = std::nan("");
  const std::string page = report_html(run);
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("–,")));
}

TEST(Page, DamagedEnvironmentIsRefused) {
  RunRecord run = synthetic_run(1);
  run.environment_json.resize(20);
  EXPECT_THROW(report_html(run), FormatError);
}

TEST(AxisTicks, AreRoundAndInside) {
  EXPECT_THAT(axis_ticks(0, 10, 5), ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(axis_ticks(2.9, 9.1, 5), ElementsAre(4, 6, 8));
  EXPECT_THAT(axis_ticks(5, 5, 5), ElementsAre());
}

}  // namespace
}  // namespace kente
