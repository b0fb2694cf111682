#include "csrc/train/prepare_process.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/support/small_recipes.h"
#include "tests/train/steps_on_threads.h"

namespace kente {
namespace {

int64_t page_faults() {
  rusage usage = {};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

// Tensors of a megabyte come and go with every micro-batch; each has 256 pages.
TEST(PrepareProcess, MemoryThatStepsFreeIsThereForTheNext) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's malloc has ways of its own";
#endif
  prepare_process();
  Recipe recipe = small_recipe(ModelFamily::kLlama);
  recipe.sequence_length = recipe.model.max_position_embeddings = 256;
  recipe.model.vocab_size = 1024;
  recipe.global_batch_tokens = 4 * recipe.sequence_length * recipe.grain_samples;
  constexpr int64_t kWarmUp = 3, kSteps = 9;
  int64_t before = 0, after = 0;
  run_steps({.recipe = recipe,
             .plan = plan_from_borders({{0, 6}}, {4}),
             .ranks = 1,
             .steps = kSteps,
             .prepare = [](Parameters& parameters, Step&) { parameters.init(1); },
             .batch =
                 [&](int64_t step, const MeshMicroBatch& at) {
                   if (step == kWarmUp + 1 && at.first_grain == 0) before = page_faults();
                   return made_up_batch(recipe, step, at);
                 },
             .after = [&](const Step&) { after = page_faults(); }});
  EXPECT_GT(before, 256);
  EXPECT_LT(after - before, 16 * (kSteps - kWarmUp)) << "a step";
}

}  // namespace
}  // namespace kente
