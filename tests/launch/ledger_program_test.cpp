#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "csrc/config/parse.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;

/// kente data ledger on a run directory made by hand: 16 samples a step.
class LedgerProgram : public testing::Test {
 protected:
  LedgerProgram() {
    recipe_.data.sources[0].digest =
        write_source(directory_.path(), "test", learnable_documents(1, 200, 40, 96),
                     learnable_documents(2, 12, 40, 96), recipe_.model.vocab_size);
    std::filesystem::create_directory(directory_ / "run");
    write("recipe.textproto", to_text(recipe_));
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / "run/" + name, std::ios::app) << text;
  }
  void add_step(int64_t step, int64_t data, const std::string& grad_norm = "1.5") {
    const int64_t samples = recipe_.samples_per_step();
    write("run.jsonl", "{\"step\":" + std::to_string(step) + ",\"grad_norm\":" + grad_norm +
                           ",\"samples\":[" + std::to_string((data - 1) * samples) + "," +
                           std::to_string(data * samples - 1) + "]}\n");
  }
  CommandResult ledger(const std::string& more = "") {
    return run_command(
        std::string(KENTE_BINARY_DIR) + "/bin/kente data ledger " + directory_ / "run" + " " + more,
        30);
  }

  TemporaryDirectory directory_;
  Recipe recipe_ = small_recipe(ModelFamily::kGpt2);
};

TEST_F(LedgerProgram, SaysThatEverySampleWasUsedOnceAndWhere) {
  for (const int64_t step : {1, 2, 3, 2, 3, 4}) add_step(step, step);
  const CommandResult result = ledger("--data " + directory_.path());
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("4 steps used 64 samples, each of them once"));
  EXPECT_THAT(result.output, HasSubstr("test                               64             1"));
  const CommandResult step = ledger("--step 2 --data " + directory_.path());
  EXPECT_EQ(step.status, 0) << step.output;
  EXPECT_THAT(step.output, HasSubstr("          16  test "));
  EXPECT_THAT(step.output, HasSubstr("          31  test "));
  EXPECT_THAT(step.output, Not(HasSubstr("          32  test ")));
}

TEST_F(LedgerProgram, WhatTheGuardsOrderedIsNotWrongAndAnythingElseIs) {
  for (const int64_t step : {1, 2}) add_step(step, step);
  add_step(3, 5);
  add_step(4, 6, "null");
  EXPECT_EQ(ledger().status, 4);
  EXPECT_THAT(ledger().output,
              HasSubstr("WRONG  samples 32-63 left out between step 2 and step 3"));
  write("events.jsonl",
        "{\"time_ms\":1,\"event\":\"went back\",\"step\":4,\"detail\":\"to step 2, going on with "
        "the data of step 5\"}\n");
  const CommandResult ordered = ledger();
  EXPECT_EQ(ordered.status, 0) << ordered.output;
  EXPECT_THAT(ordered.output, HasSubstr("by the guards' order"));
  EXPECT_THAT(ordered.output, HasSubstr("step 4 changed nothing: a gradient was not finite"));
}

TEST_F(LedgerProgram, SamplesUsedTwiceAndStepsThatAreMissingAreNamed) {
  add_step(1, 1);
  add_step(2, 1);
  add_step(5, 2);
  const CommandResult result = ledger("--json");
  EXPECT_EQ(result.status, 4) << result.output;
  EXPECT_THAT(result.output, HasSubstr("\"ok\": false"));
  EXPECT_THAT(result.output, HasSubstr("samples 0-15 used by step 1 and again by step 2"));
  EXPECT_THAT(result.output, HasSubstr("run.jsonl has nothing of steps 3-4"));
}

TEST_F(LedgerProgram, WrongArgumentsExitWithTwoAndOneLine) {
  add_step(1, 1);
  for (const char* wrong : {"--step 1", "--step 9 --data .", "--data /nowhere", "--what"}) {
    const CommandResult result = ledger(wrong);
    EXPECT_EQ(result.status, 2) << wrong << result.output;
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
}

}  // namespace
}  // namespace kente
