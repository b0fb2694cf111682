#include "launch/memory_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "csrc/plan/memory.h"
#include "csrc/plan/mesh.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MemoryAdvice, SaysWhatThePlanWantsAndWhatWouldWantLess) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  Plan plan = plan_from_borders({{0, 6}, {0, 3, 6}}, {8, 8});
  plan.replicas[0].grains_per_micro_batch = 4;
  const std::string advice = memory_advice(recipe, plan, 0);
  EXPECT_THAT(advice, HasSubstr("grains_per_micro_batch: 1 in place of 4 wants "));
  EXPECT_THAT(advice, HasSubstr("and with recompute: FULL "));
  plan.replicas[1].stages[0].recompute = Recompute::kFull;
  EXPECT_THAT(memory_advice(recipe, plan, 1), Not(HasSubstr("grains_per_micro_batch")));
  EXPECT_THAT(memory_advice(recipe, plan, 1), Not(HasSubstr("recompute")));
  EXPECT_THROW(memory_advice(recipe, plan, 7), UsageError);
  EXPECT_EQ(memory_advice("/nowhere", 0), "");
}

TEST(MemoryAdvice, TheNumbersAreThePredictionsOnes) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.model.vocab_size = 8192;  // so that a grain is some MiB
  recipe.model.max_position_embeddings = recipe.sequence_length = 512;
  recipe.global_batch_tokens = int64_t{16} * 512;
  Plan plan = plan_from_borders({{0, 6}}, {16});
  plan.replicas[0].grains_per_micro_batch = 16;
  const auto mib = [&] {
    const std::vector<int64_t> peaks = predict_peak_bytes(recipe, plan, make_mesh(recipe, plan, 1));
    return std::to_string((peaks[0] + (1 << 19)) >> 20);
  };
  const std::string advice = memory_advice(recipe, plan, 0);
  EXPECT_THAT(advice, HasSubstr("its plan wants " + mib() + " MiB"));
  plan.replicas[0].grains_per_micro_batch = 1;
  EXPECT_THAT(advice, HasSubstr("in place of 16 wants " + mib() + " MiB"));
}

}  // namespace
}  // namespace kente
