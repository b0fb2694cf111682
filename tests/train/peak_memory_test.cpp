#include <gtest/gtest.h>
#include <sys/resource.h>

#include "csrc/config/parse.h"
#include "csrc/plan/memory.h"
#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

/// The largest resident set of any process this one has started and waited for.
int64_t peak_bytes_of_children() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

TEST(PeakMemory, OfGpt2At124MOnOneRankIsPredictedWithin10Percent) {
  const TemporaryDirectory directory;
  const std::string recipe_path = KENTE_SOURCE_DIR "/recipes/gpt2-124m.textproto";
  const std::vector<std::string> overrides = {
      "steps=3",
      "global_batch_tokens=2048",
      "sequence_length=256",
      "grain_samples=1",
      "data.source[0].id=test",
      "data.source[0].digest=" + write_learnable_source(directory.path(), 1000),
      "validation.every_steps=0",
      "lr.warmup_steps=1"};
  const Recipe recipe = load_recipe(recipe_path, overrides);
  const Plan plan = even_plan(recipe, 1, 1);
  const int64_t predicted = predict_peak_bytes(recipe, plan, make_mesh(recipe, plan, 1)).at(0);
  std::string command = KENTE_BINARY_DIR
                        "/bin/kente train --plan even --checkpoint-every 0 --recipe " +
                        recipe_path + " --data " + directory.path() + " --out " + directory / "run";
  for (const std::string& override : overrides) command += " --set '" + override + "'";
  const CommandResult result = run_command(command, 1200);
  ASSERT_EQ(result.status, 0) << result.output;
  const int64_t measured = peak_bytes_of_children();
  std::printf("peak memory: %lld MiB measured, %lld MiB predicted\n",
              static_cast<long long>(measured >> 20), static_cast<long long>(predicted >> 20));
  EXPECT_NEAR(static_cast<double>(predicted) / static_cast<double>(measured), 1.0, 0.1);
}

}  // namespace
}  // namespace kente
