#include "csrc/plan/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/model_layout.h"
#include "csrc/plan/describe.h"
#include "tests/plan/small_meshes.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;

std::vector<MemoryPrediction> predict(const Recipe& recipe, const Plan& plan, int ranks) {
  return predict_memory(recipe, plan, make_mesh(recipe, plan, ranks));
}

int64_t layout_elements(const Recipe& recipe) {
  int64_t elements = 0;
  for (const ParamGroup& group : model_layout(recipe.model)) elements += group.size;
  return elements;
}

TEST(Memory, OneRankHoldsFourNumbersAParameterInFast) {
  Recipe recipe = recipe_with(4, 16, true);
  recipe.numerics.reduction = Reduction::kFast;
  const MemoryPrediction memory = predict(recipe, plan_from_borders({{0, 6}}, {16}), 1)[0];
  EXPECT_EQ(memory.parameters, 4 * layout_elements(recipe));
  EXPECT_EQ(memory.gradients, 4 * layout_elements(recipe));
  EXPECT_EQ(memory.optimizer, 8 * layout_elements(recipe));
}

TEST(Memory, Bf16AddsTheCopyAndHalvesWhatBlocksKeep) {
  Recipe recipe = recipe_with(4, 16, true);
  recipe.model.vocab_size = 1;  // the logits stay f32
  Plan plan = plan_from_borders({{0, 6}}, {16});
  const MemoryPrediction wide = predict(recipe, plan, 1)[0];
  plan.replicas[0].stages[0].compute = DType::kBF16;
  const MemoryPrediction half = predict(recipe, plan, 1)[0];
  EXPECT_EQ(half.parameters - wide.parameters, 2 * layout_elements(recipe));
  EXPECT_NEAR(static_cast<double>(half.activations) / static_cast<double>(wide.activations), 0.5,
              0.03);  // statistics of norms and attention stay f32
}

TEST(Memory, ExactKeepsIntegersAndOneGroupsScratch) {
  Recipe recipe = recipe_with(4, 16, true);
  recipe.model.vocab_size = 5000;  // the tied table is the largest group
  const MemoryPrediction memory = predict(recipe, plan_from_borders({{0, 6}}, {16}), 1)[0];
  EXPECT_EQ(memory.gradients,
            8 * layout_elements(recipe) + 4 * model_layout(recipe.model).back().size);
}

TEST(Memory, ShardedMomentsAreCountedOnceOverTheirHoldersAndByWeight) {
  const Recipe recipe = recipe_with(4, 16, true);
  Plan plan = plan_from_borders({{0, 6}, {0, 6}}, {8, 8});
  plan.shard_optimizer = true;
  const int64_t whole = 8 * layout_elements(recipe);
  for (const int64_t weight : {1, 3}) {
    plan.replicas[0].stages[0].optimizer_weight = weight;
    plan.replicas[1].stages[0].optimizer_weight = 1;
    const std::vector<MemoryPrediction> memory = predict(recipe, plan, 2);
    EXPECT_EQ(memory[0].optimizer + memory[1].optimizer, whole);
    const auto groups = static_cast<double>(model_layout(recipe.model).size());
    EXPECT_NEAR(static_cast<double>(memory[0].optimizer),
                static_cast<double>(whole * weight) / static_cast<double>(weight + 1),
                8 * groups * kBlockElements);
    EXPECT_EQ(memory[0].parameters, memory[1].parameters);
  }
}

TEST(Memory, SnapshotsKeepEveryPartOfTheStateAtOneOfItsHolders) {
  const Recipe recipe = recipe_with(4, 16, true);
  const int64_t state = 12 * parameter_count(recipe.model);
  Plan replicas = plan_from_borders({{0, 4, 6}, {0, 6}}, {8, 8});
  for (const bool sharded : {false, true}) {
    replicas.shard_optimizer = sharded;
    const Mesh mesh = make_mesh(recipe, replicas, 3);
    const std::vector<MemoryPrediction> none = predict_memory(recipe, replicas, mesh);
    const std::vector<MemoryPrediction> two = predict_memory(recipe, replicas, mesh, 2);
    int64_t all = 0;
    for (size_t rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(none[rank].snapshots, 0);
      EXPECT_GT(two[rank].snapshots, 0) << "holders take turns";
      EXPECT_EQ(two[rank].total() - none[rank].total(), two[rank].snapshots);
      all += two[rank].snapshots;
    }
    EXPECT_EQ(all, 2 * state) << "sharded " << sharded;
  }
}

TEST(Memory, BothEndsOfATiedPipelineHoldTheTableTheMiddleDoesNot) {
  const Recipe recipe = recipe_with(4, 4, true);
  const std::vector<MemoryPrediction> memory =
      predict(recipe, plan_from_borders({{0, 1, 5, 6}}, {4}), 3);
  const std::vector<ParamGroup> layout = model_layout(recipe.model);
  EXPECT_EQ(memory[0].parameters, 4 * (layout[0].size + layout[6].size));
  EXPECT_EQ(memory[1].parameters, int64_t{4} * 4 * layout[1].size);
  EXPECT_EQ(memory[2].parameters, 4 * (layout[5].size + layout[6].size));
}

TEST(Memory, GPipeKeepsEveryMicroBatch1F1BOnlyThoseUnderWay) {
  const Recipe recipe = recipe_with(4, 8, true);
  Plan plan = plan_from_borders({{0, 2, 4, 6}}, {8});
  const std::vector<MemoryPrediction> few = predict(recipe, plan, 3);
  plan.schedule = ScheduleKind::kGPipe;
  const std::vector<MemoryPrediction> all = predict(recipe, plan, 3);
  for (size_t stage = 0; stage < 3; ++stage)
    EXPECT_EQ(all[stage].activations * (3 - static_cast<int64_t>(stage)),
              few[stage].activations * 8);
}

TEST(Memory, ZeroBubbleKeepsAsManyMicroBatchesAndMessagesAsMayBeUnderWay) {
  const Recipe recipe = recipe_with(4, 8, true);
  Plan plan = plan_from_borders({{0, 3, 6}}, {8});
  const std::vector<MemoryPrediction> one = predict(recipe, plan, 2);
  plan.schedule = ScheduleKind::kZeroBubble;
  plan.replicas[0].under_way = 3;
  for (StagePlan& stage : plan.replicas[0].stages)
    stage.times = {.forward = 1, .backward_input = 1, .backward_weight = 1, .message = 9};
  const std::vector<MemoryPrediction> three = predict(recipe, plan, 2);
  EXPECT_EQ(three[0].activations * 2, one[0].activations * 3);
  const int64_t message = 2 * recipe.sequence_length * recipe.grain_samples *
                          recipe.model.hidden_size * size_of(recipe.numerics.boundary);
  EXPECT_EQ(three[0].transient, one[0].transient + 2 * message);
}

TEST(Memory, RecomputeKeepsOnlyInputs) {
  const Recipe recipe = recipe_with(4, 8, true);
  Plan plan = plan_from_borders({{0, 5, 6}}, {8});
  plan.schedule = ScheduleKind::kGPipe;
  const MemoryPrediction all = predict(recipe, plan, 2)[0];
  plan.replicas[0].stages[0].recompute = Recompute::kFull;
  const MemoryPrediction few = predict(recipe, plan, 2)[0];
  // GPT-2's block keeps 5 D + W + U + F = 16 D; of all 8 micro-batches one is whole at a time.
  EXPECT_LT(few.activations, all.activations / 5);
  EXPECT_GT(few.transient, all.transient);
}

TEST(Memory, SparesNeedOnlyTheProcess) {
  const Recipe recipe = recipe_with(4, 8, true);
  const MemoryPrediction spare = predict(recipe, plan_from_borders({{0, 6}}, {8}), 2)[1];
  EXPECT_EQ(spare.total(), spare.process);
}

TEST(Memory, Gpt2_124mOnOneRankIsWhatWasMeasured) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.model = {.family = ModelFamily::kGpt2,
                  .vocab_size = 50257,
                  .hidden_size = 768,
                  .intermediate_size = 3072,
                  .num_hidden_layers = 12,
                  .num_attention_heads = 12,
                  .num_key_value_heads = 12,
                  .max_position_embeddings = 1024,
                  .norm_epsilon = 1e-5,
                  .rope_theta = 0,
                  .tie_word_embeddings = true,
                  .initializer_range = 0.02};
  recipe.sequence_length = 256;
  recipe.grain_samples = 4;
  recipe.global_batch_tokens = int64_t{4} * 1024;
  recipe.numerics.reduction = Reduction::kFast;
  Plan plan = plan_from_borders({{0, 14}}, {4});
  constexpr double kMib = 1 << 20;
  // Resident peaks of a process that ran such micro-batches forward and backward.
  EXPECT_NEAR(static_cast<double>(predict(recipe, plan, 1)[0].total()) / kMib, 2997, 0.05 * 2997);
  plan.replicas[0].stages[0].compute = DType::kBF16;
  EXPECT_NEAR(static_cast<double>(predict(recipe, plan, 1)[0].total()) / kMib, 3294, 0.05 * 3294);
}

TEST(Describe, ShowsEveryRankWhatItDoesAndWhatItNeeds) {
  const Recipe recipe = recipe_with(4, 16, true);
  Plan plan = plan_from_borders({{0, 4, 6}, {0, 6}}, {11, 5});
  plan.replicas[0].grains_per_micro_batch = 2;
  plan.replicas[1].stages[0].recompute = Recompute::kFull;
  const std::string text = describe(recipe, plan, make_mesh(recipe, plan, 4));
  SCOPED_TRACE(text);
  EXPECT_THAT(text, HasSubstr("2 replicas on 4 ranks, schedule 1F1B, reduction EXACT"));
  EXPECT_THAT(text, HasSubstr("embedding, 1-3"));
  EXPECT_THAT(text, HasSubstr("4, head"));
  EXPECT_THAT(text, HasSubstr("11 of 16"));
  EXPECT_THAT(text, HasSubstr("5 x 2 + 1"));
  EXPECT_THAT(text, HasSubstr("f32, recompute"));
  EXPECT_THAT(text, HasSubstr("spare"));
  EXPECT_THAT(text, HasSubstr("over ranks 1, 2\n"));
  EXPECT_THAT(text, HasSubstr("over ranks 0, 1, 2\n"));
  size_t start = 0;
  for (size_t end; (end = text.find('\n', start)) != std::string::npos; start = end + 1)
    EXPECT_LE(end - start, 100u);
  EXPECT_EQ(start, text.size());
}

}  // namespace
}  // namespace kente
