#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/report/environment.h"
#include "csrc/report/run_record.h"
#include "csrc/report/summary.h"
#include "tests/report/synthetic_run.h"
#include "tests/support/faulty_file_system.h"

namespace kente {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void put(FileSystem& files, const std::string& path, const std::string& text) {
  files.make_directories("/run");
  const auto file = files.create(path);
  file->append(text.data(), static_cast<int64_t>(text.size()));
}

std::vector<StepRecord> steps_of(const std::string& lines) {
  FaultyFileSystem files;
  put(files, "/run/run.jsonl", lines);
  return read_run(files, "/run").steps;
}

TEST(StepRecord, EveryNumberComesBackBitForBit) {
  StepRecord record;
  record.step = 17;
  record.tokens = 16384;
  record.loss = std::bit_cast<float>(0x40a3d70bu);
  record.grad_norm = 0.1 + 0.2;
  record.lr = 1.0 / 3;
  record.seconds = 1e-17;
  record.tokens_per_second = 123456.789;
  record.ceiling_fraction = 0.61;
  record.predicted_seconds = 2.0 / 3;
  record.epoch = 1.25;
  record.first_sample = 1024;
  record.last_sample = 1087;
  record.ranks = {{.rank = 3,
                   .device = "rank-3 \"old\"",
                   .measured = {.forward = 1.0 / 7,
                                .backward_input = 0.2,
                                .backward_weight = 0.3,
                                .optimizer = 1e-9,
                                .wait = 0.4},
                   .predicted = {.forward = 1.0 / 9,
                                 .backward_input = 0.21,
                                 .backward_weight = 0.31,
                                 .optimizer = 2e-9,
                                 .wait = 0.41}}};
  const StepRecord back = steps_of(to_json(record) + "\n").at(0);
  EXPECT_EQ(to_json(back), to_json(record));
  EXPECT_EQ(std::bit_cast<uint32_t>(back.loss), 0x40a3d70bu);
  EXPECT_EQ(back.grad_norm, record.grad_norm);
  EXPECT_EQ(back.predicted_seconds, record.predicted_seconds);
  EXPECT_EQ(back.joules, std::nullopt);
}

TEST(StepRecord, LineHasEveryFieldOfTheFormat) {
  StepRecord record;
  record.step = 1;
  record.loss = 1.5f;
  EXPECT_EQ(to_json(record),
            R"({"step":1,"tokens":0,"loss":1.5,"loss_bits":"3fc00000","grad_norm":0.0,"lr":0.0,)"
            R"("seconds":0.0,"tokens_per_second":0.0,"ceiling_fraction":null,)"
            R"("predicted_seconds":null,"joules":null,"epoch":0.0,"samples":[0,0]})");
}

TEST(StepRecord, LossThatIsNotANumberKeepsItsBits) {
  StepRecord record;
  record.step = 1;
  record.loss = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(to_json(record), HasSubstr("\"loss\":null,\"loss_bits\":\"7fc00000\""));
  EXPECT_TRUE(std::isnan(steps_of(to_json(record) + "\n").at(0).loss));
}

TEST(ReadRun, AnyCutOfTheLastLineIsReadAsIfItWereNotThere) {
  StepRecord record;
  record.step = 1;
  const std::string first = to_json(record) + "\n";
  record.step = 2;
  const std::string second = to_json(record);
  for (size_t bytes = 0; bytes < second.size(); ++bytes)
    ASSERT_EQ(steps_of(first + second.substr(0, bytes)).size(), 1u) << bytes;
  EXPECT_EQ(steps_of(first + second).size(), 2u);
}

TEST(ReadRun, ResumedRunsLastLineOfAStepWins) {
  std::string lines;
  for (const auto& [step, loss] :
       std::vector<std::pair<int64_t, float>>{{1, 9}, {2, 8}, {3, 7}, {2, 6}, {3, 5}}) {
    StepRecord record;
    record.step = step;
    record.loss = loss;
    lines += to_json(record) + "\n";
    if (step == 3 && loss == 7) lines += "{\"step\":4,\"to\n";
  }
  const std::vector<StepRecord> steps = steps_of(lines);
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[1].loss, 6);
  EXPECT_EQ(steps[2].loss, 5);
}

TEST(ReadRun, EventsValidationsAndTimelineComeBack) {
  FaultyFileSystem files;
  const RunRecord run = synthetic_run(20);
  put(files, "/run/run.jsonl", "");
  std::string events = event_json("checkpoint", 40, "23 MB <b>") + "\n";
  for (const ValidationRecord& record : run.validations) events += event_json(record) + "\n";
  put(files, "/run/events.jsonl", events + "{\"event\":\"st");
  put(files, "/run/timeline.json", to_json(run.timeline));
  put(files, "/run/ops.json", to_json(run.ops));
  const RunRecord back = read_run(files, "/run");
  ASSERT_EQ(back.validations.size(), run.validations.size());
  EXPECT_EQ(back.validations[3].bits_per_byte, run.validations[3].bits_per_byte);
  EXPECT_EQ(back.validations[3].sources.at(1).id, "handbook-ru");
  EXPECT_THAT(back.events, ElementsAre(HasSubstr(" checkpoint step 40: 23 MB <b>"),
                                       HasSubstr("1 torn lines of events.jsonl")));
  EXPECT_EQ(to_json(back.timeline), to_json(run.timeline));
  EXPECT_EQ(to_json(back.ops), to_json(run.ops));
}

TEST(ReadRun, OperationsThatAreNotAreRefusedOrLeftOut) {
  for (const char* text : {"[", "3", "{\"kente_ops\": 2}"})
    EXPECT_THROW(parse_op_profiles(text, "f"), FormatError) << text;
  EXPECT_TRUE(parse_op_profiles("", "f").empty());
  const std::vector<OpProfile> odd = parse_op_profiles(
      R"({"kente_ops": 1, "ranks": [7, {"rank": -5, "seconds": -1,
          "ops": [0, {"op": 3, "seconds": "x", "flops": -2}]}]})",
      "f");
  ASSERT_EQ(odd.size(), 1u);
  EXPECT_EQ(odd[0].rank, 0);
  EXPECT_EQ(odd[0].seconds, 0);
  ASSERT_EQ(odd[0].ops.size(), 1u);
  EXPECT_EQ(odd[0].ops[0].flops, 0);
}

TEST(ReadRun, DirectoryThatIsNoRunIsAUsageError) {
  FaultyFileSystem files;
  EXPECT_THROW(read_run(files, "/nowhere"), UsageError);
}

TEST(Environment, ComesBackAsItWasWritten) {
  const Environment environment = synthetic_environment();
  EXPECT_EQ(to_json(parse_environment(to_json(environment), "e")), to_json(environment));
}

TEST(Environment, HostileOrNewerTextIsRefused) {
  EXPECT_THROW(parse_environment("{\"name\":\"a\",\"name\":\"b\"}", "e"), FormatError);
  EXPECT_THROW(parse_environment("{\"kente_environment\":2}", "e"), FormatError);
  EXPECT_THROW(parse_environment("[1]", "e"), FormatError);
  EXPECT_THROW(parse_environment("{\"a\":" + std::string(100000, '['), "e"), FormatError);
  EXPECT_THROW(
      parse_environment("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}", "e"),
      FormatError);
  EXPECT_EQ(parse_environment("", "e").cores, 0);
  EXPECT_EQ(parse_environment("{\"name\":7,\"sources\":{},\"mesh\":[3]}", "e").name, "");
}

TEST(Summary, TrigramIsWeightedByHeldBackBytes) {
  RunRecord run = synthetic_run(10);
  Environment environment = synthetic_environment();
  const Summary summary = summarize(run, environment);
  ASSERT_TRUE(summary.trigram_bits_per_byte);
  EXPECT_NEAR(*summary.trigram_bits_per_byte, (9 * 2.91 + 8 * 2.02 + 7 * 2.44) / 24, 1e-12);
  environment.sources[1].byte_trigram_bits_per_byte = 0;
  EXPECT_FALSE(summarize(run, environment).trigram_bits_per_byte);
}

TEST(Comparison, TakesTheNewestPlansStepsAndTheLastRanks) {
  RunRecord run;
  for (int64_t step = 1; step <= 6; ++step) {
    StepRecord& record = run.steps.emplace_back();
    record.step = step;
    record.seconds = step <= 3 ? 9 : 2;  // a plan resumed with another after step 3
    record.predicted_seconds = step <= 3 ? 8 : 1;
    if (step % 2 == 0) record.ranks.emplace_back().rank = static_cast<int>(step);
  }
  const Comparison compared = compare_with_plan(run);
  EXPECT_EQ(compared.step, 6);
  EXPECT_EQ(compared.ranks.at(0).rank, 6);
  EXPECT_EQ(compared.measured_seconds, 2);
  EXPECT_NEAR(compared.off(), 1.0, 1e-12);
  for (StepRecord& record : run.steps) record.predicted_seconds.reset();
  EXPECT_EQ(compare_with_plan(run).step, 0);
}

TEST(ThinOut, KeepsEndsAndExtremes) {
  std::vector<std::pair<double, double>> points;
  points.reserve(100000);
  for (int i = 0; i < 100000; ++i) points.emplace_back(i, i == 77777 ? 1000 : i % 10);
  const auto kept = thin_out(points, 300);
  EXPECT_LE(kept.size(), 602u);
  EXPECT_EQ(kept.front(), points.front());
  EXPECT_EQ(kept.back(), points.back());
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
  EXPECT_NE(std::find(kept.begin(), kept.end(), std::pair<double, double>(77777, 1000)),
            kept.end());
}

}  // namespace
}  // namespace kente
