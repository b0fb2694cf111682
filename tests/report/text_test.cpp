#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/report/number_text.h"
#include "csrc/report/terminal.h"
#include "tests/report/synthetic_run.h"

namespace kente {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TextReport, ShowsNumbersChartSourcesAndPlan) {
  const std::string text = report_text(synthetic_run(200));
  for (const char* part : {"quickstart", "parameters", "1.94 M", "bits per byte", "byte trigram",
                           "handbook-ru", "GPL-2+", "replica", "5-7", "│", "loss by step"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST(TextReport, SaysWhereAStepsTimeGoes) {
  const RunRecord run = synthetic_run(20);
  const std::string text = report_text(run);
  EXPECT_THAT(text, HasSubstr("one step, all ranks: products 60.0 %, bytes moved 10.0 %, "
                              "communication 5.0 %, waiting 15.0 %, between operations 10.0 %"));
  EXPECT_THAT(text, HasSubstr("cross-entropy"));
  EXPECT_THAT(report_json(run), HasSubstr("\"bytes_moved\": 0.1"));
}

TEST(TextReport, RunsTextCannotSteerTheTerminal) {
  Environment environment = synthetic_environment();
  environment.name = "\x1b[2Jx\xc2\x9by";
  environment.sources[0].licence = "a\nb\rc\x07";
  RunRecord run = synthetic_run(3);
  run.environment_json = to_json(environment);
  const std::string text = report_text(run);
  EXPECT_THAT(text, HasSubstr("?[2Jx??y"));
  EXPECT_THAT(text, HasSubstr("a?b?c?"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(TextReport, OfAnEmptyRunIsShort) {
  RunRecord run;
  run.directory = "runs/empty/";
  EXPECT_THAT(report_text(run), HasSubstr("empty\n"));
  EXPECT_THAT(report_json(run), HasSubstr("\"loss\": null"));
}

TEST(TextTable, ColumnsLineUpWhateverTheScript) {
  EXPECT_EQ(text_table({"a", "n"}, {{"日本", "1"}, {"x", "22"}}, {Align::kLeft, Align::kRight}),
            "a    n\n日本   1\nx   22\n");
}

TEST(TextChart, LowestPointIsOnTheLastLine) {
  const std::string chart = text_chart({{1, 9}, {2, 5}, {3, 1}}, "loss");
  EXPECT_THAT(chart, HasSubstr("     9.000 │⠁"));
  EXPECT_THAT(chart, HasSubstr("     1.000 │"));
  EXPECT_EQ(text_chart({{1, 9}}, "loss"), "");
}

TEST(NumberText, ReadsLikePeopleWrite) {
  EXPECT_EQ(count_text(950), "950");
  EXPECT_EQ(count_text(1943296), "1.94 M");
  EXPECT_EQ(count_text(12345), "12.3 k");
  EXPECT_EQ(duration_text(0.0123), "12.3 ms");
  EXPECT_EQ(duration_text(7.25), "7.2 s");
  EXPECT_EQ(duration_text(192), "3 min 12 s");
  EXPECT_EQ(duration_text(7500), "2 h 05 min");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(fixed_text(0.0 / 0.0, 2), "–");
}

}  // namespace
}  // namespace kente
