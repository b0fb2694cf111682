#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"

namespace kente {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

/// A line of the recipe changed, where the error stands and what it must name.
struct WrongRecipe {
  std::string from, to;
  std::string place;
  std::vector<std::string> says;
};

void expect_recipe_refused(const std::string& text, const WrongRecipe& wrong) {
  const std::string error =
      error_of([&] { parse_recipe(with(text, wrong.from, wrong.to), "r.textproto"); });
  EXPECT_THAT(error, StartsWith("r.textproto" + wrong.place + ": ")) << wrong.to;
  for (const std::string& words : wrong.says) EXPECT_THAT(error, HasSubstr(words)) << wrong.to;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST(RecipeValidate, MissingFieldsAreNamedWhereTheyBelong) {
  const std::vector<WrongRecipe> cases = {
      {"version: 1\n", "", "", {"version is missing"}},
      {"steps: 30\n", "", "", {"steps is missing"}},
      {"  vocab_size: 96\n", "", ":6:1", {"model.vocab_size is missing"}},
      {"  model_type: gpt2\n", "", ":6:1", {"model.model_type is missing"}},
      {"id: \"b\"", "", ":15:3", {"data.source[1].id is missing"}},
      {"learning_rate: 0.003", "", ":17:1", {"optimizer.learning_rate is missing"}},
      {"model_type: gpt2", "model_type: llama", ":6:1", {"model.intermediate_size is missing"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(kGpt2Recipe, wrong);
}

TEST(RecipeValidate, ModelThatCannotBeIsRefused) {
  const std::vector<WrongRecipe> cases = {
      {"num_attention_heads: 4",
       "num_attention_heads: 5",
       ":11:3",
       {"model.num_attention_heads is 5", "does not divide model.hidden_size 32"}},
      {"num_attention_heads: 4", "num_attention_heads: 0", ":11:3", {"is 0", "1 to "}},
      {"vocab_size: 96", "vocab_size: 1", ":8:3", {"model.vocab_size is 1", "2 to "}},
      {"hidden_size: 32", "hidden_size: -32", ":9:3", {"model.hidden_size is -32"}},
      {"hidden_size: 32", "hidden_size: 9223372036854775807", ":9:3", {"model.hidden_size is"}},
      {"num_hidden_layers: 4", "num_hidden_layers: 4097", ":10:3", {"1 to 4096"}},
      {"model_type: gpt2",
       "model_type: gpt2\nnum_key_value_heads: 2",
       ":8:1",
       {"model.num_key_value_heads is 2", "gpt2", "allowed is 4"}},
      {"model_type: gpt2", "model_type: gpt2 rms_norm_eps: 1e-6", ":7:20", {"layer_norm_epsilon"}},
      {"model_type: gpt2", "model_type: gpt2 rope_theta: 1e4", ":7:20", {"learned positions"}},
      {"model_type: gpt2", "model_type: gpt2 layer_norm_epsilon: 0", ":7:20", {"is 0", "above 0"}},
      {"model_type: gpt2", "model_type: gpt2 initializer_range: inf", ":7:20", {"is inf"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(kGpt2Recipe, wrong);
  const std::vector<WrongRecipe> llama = {
      {"num_key_value_heads: 2",
       "num_key_value_heads: 3",
       ":7:43",
       {"model.num_key_value_heads is 3", "does not divide model.num_attention_heads 4"}},
      {"hidden_size: 32", "hidden_size: 36", ":11:3", {"is 9", "must be even"}},
      {"num_key_value_heads: 2", "layer_norm_epsilon: 1e-5", ":7:43", {"rms_norm_eps"}},
      {"num_key_value_heads: 2", "rope_theta: -1", ":7:43", {"model.rope_theta is -1"}},
  };
  for (const WrongRecipe& wrong : llama) expect_recipe_refused(llama_recipe(), wrong);
}

TEST(RecipeValidate, BatchThatDoesNotDivideIsRefused) {
  const std::vector<WrongRecipe> cases = {
      {"global_batch_tokens: 256",
       "global_batch_tokens: 250",
       ":5:1",
       {"global_batch_tokens is 250", "a multiple of", "16"}},
      {"global_batch_tokens: 256",
       "global_batch_tokens: 256 grain_samples: 3",
       ":5:1",
       {"a multiple of sequence_length x grain_samples, 48"}},
      {"global_batch_tokens: 256", "global_batch_tokens: 0", ":5:1", {"is 0"}},
      {"sequence_length: 16", "sequence_length: 16 grain_samples: 0", ":4:21", {"is 0"}},
      {"sequence_length: 16", "sequence_length: 1", ":5:1", {}},
      {"num_hidden_layers: 4",
       "num_hidden_layers: 4 max_position_embeddings: 15",
       ":4:1",
       {"sequence_length is 16", "at most model.max_position_embeddings, 15"}},
      {"steps: 30", "steps: 0", ":3:1", {"steps is 0", "1 to 1000000000"}},
  };
  for (const WrongRecipe& wrong : cases)
    if (!wrong.says.empty()) expect_recipe_refused(kGpt2Recipe, wrong);
  // 2^32 tokens in samples of one token would be 2^32 grains.
  const std::string many = with(with(kGpt2Recipe, "sequence_length: 16", "sequence_length: 1"),
                                "tokens: 256", "tokens: 4294967296");
  EXPECT_THAT(error_of([&] { parse_recipe(many, "r"); }), HasSubstr("raise grain_samples"));
}

TEST(RecipeValidate, SourcesMustBeNamedOnceWithAWeightAndADigest) {
  const std::vector<WrongRecipe> cases = {
      {"id: \"b\"", "id: \"a\"", ":15:12", {"\"a\" is listed twice"}},
      {"id: \"b\"", "id: \"../b\"", ":15:12", {"data.source[1].id"}},
      {"id: \"b\"", "id: \"\"", ":15:12", {"data.source[1].id"}},
      {"id: \"b\"", "id: \"b\\000c\"", ":15:12", {"data.source[1].id"}},
      {"weight: 2", "weight: 0", ":14:20", {"data.source[0].weight is 0", "above 0"}},
      {"weight: 2", "weight: -1", ":14:20", {"is -1"}},
      {"weight: 2", "weight: nan", ":14:20", {"is nan"}},
      {"weight: 2", "weight: 1e10", ":14:20", {"at most 1e+09"}},
      {"weight: 2", "digest: \"abc\"", ":14:20", {"data.source[0].digest", "64"}},
      {"weight: 2", "digest: \"" + std::string(64, 'A') + "\"", ":14:20", {"lower-case"}},
      {"data {", "data { tokenizer_digest: \"1\"", ":13:8", {"data.tokenizer_digest", "64"}},
      {"  source { id: \"a\" weight: 2 }\n  source { id: \"b\" }\n",
       "",
       ":13:1",
       {"data has 0 sources"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(kGpt2Recipe, wrong);
}

TEST(RecipeValidate, NumbersOfTheOptimizerMustBeFiniteAndInRange) {
  const std::vector<WrongRecipe> cases = {
      {"0.003", "0", ":17:13", {"optimizer.learning_rate is 0"}},
      {"0.003", "-1", ":17:13", {"optimizer.learning_rate is -1"}},
      {"0.003", "inf", ":17:13", {"is inf", "finite"}},
      {"0.003", "nan", ":17:13", {"is nan"}},
      {"0.003", "1 beta1: 1", ":17:30", {"optimizer.beta1 is 1", "below 1"}},
      {"0.003", "1 beta2: -0.1", ":17:30", {"optimizer.beta2 is -0.1"}},
      {"0.003", "1 epsilon: 0", ":17:30", {"optimizer.epsilon is 0"}},
      {"0.003", "1 weight_decay: -inf", ":17:30", {"optimizer.weight_decay is -inf"}},
      {"0.003", "1 clip_norm: -1", ":17:30", {"optimizer.clip_norm is -1"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(kGpt2Recipe, wrong);
}

TEST(RecipeValidate, ScheduleMustFitTheSteps) {
  const std::string text = kGpt2Recipe + "lr { kind: WSD warmup_steps: 10 decay_steps: 20 }\n";
  EXPECT_EQ(parse_recipe(text, "r").lr.decay_steps, 20);
  const std::vector<WrongRecipe> cases = {
      {"decay_steps: 20", "decay_steps: 31", ":18:33", {"lr.decay_steps is 31", "1 to 30"}},
      {"decay_steps: 20", "decay_steps: 21", ":18:33", {"together at most steps, 30"}},
      {"decay_steps: 20", "", ":18:1", {"lr.decay_steps is 0"}},
      {"kind: WSD", "kind: COSINE", ":18:36", {"remove it"}},
      {"warmup_steps: 10", "warmup_steps: 31", ":18:16", {"lr.warmup_steps is 31", "0 to 30"}},
      {"decay_steps: 20", "decay_steps: 20 min_ratio: 1.5", ":18:49", {"lr.min_ratio is 1.5"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(text, wrong);
}

TEST(RecipeValidate, ExactAllowsNoBoundaryOfAnotherType) {
  const std::string text =
      kGpt2Recipe + "numerics { compute: BF16 boundary: F32 reduction: FAST }\n";
  EXPECT_EQ(parse_recipe(text, "r").numerics.boundary, DType::kF32);
  expect_recipe_refused(text, {"FAST", "EXACT", ":18:26", {"numerics.boundary is F32", "BF16"}});
}

TEST(RecipeValidate, SubstitutesAreOtherTypesAndNoneUnderExact) {
  const std::string text = kGpt2Recipe + "numerics { reduction: FAST substitute: BF16 }\n";
  EXPECT_THAT(parse_recipe(text, "r").numerics.allowed(),
              testing::ElementsAre(DType::kF32, DType::kBF16));
  expect_recipe_refused(text, {"FAST", "EXACT", ":18:29", {"numerics.substitute[0]", "EXACT"}});
  expect_recipe_refused(text, {"substitute: BF16", "substitute: F32", ":18:28", {"is F32"}});
  expect_recipe_refused(text, {"substitute: BF16",
                               "substitute: BF16 substitute: BF16",
                               ":18:45",
                               {"numerics.substitute[1] is BF16"}});
}

TEST(RecipeValidate, F16TravelsInF32AndIsNotForExact) {
  const std::string text = kGpt2Recipe + "numerics { compute: F16 }\n";
  EXPECT_EQ(parse_recipe(text, "r").numerics.compute, DType::kF16);
  EXPECT_EQ(parse_recipe(text, "r").numerics.boundary, DType::kF32);
  expect_recipe_refused(text, {"compute: F16",
                               "boundary: F16",
                               ":18:12",
                               {"numerics.boundary is F16", "take F32 or BF16"}});
  expect_recipe_refused(text, {"compute: F16",
                               "compute: F16 boundary: F16 reduction: EXACT",
                               ":18:25",
                               {"boundary is F16"}});
  expect_recipe_refused(text, {"compute: F16",
                               "compute: BF16 substitute: F16 reduction: EXACT",
                               ":18:26",
                               {"reduction EXACT allows no substitutes"}});
}

TEST(RecipeValidate, ValidationNeedsSamples) {
  const std::string text = kGpt2Recipe + "validation { every_steps: 5 }\n";
  EXPECT_EQ(parse_recipe(text, "r").validation.samples_per_source, 64);
  expect_recipe_refused(
      text, {"every_steps: 5", "every_steps: 5 samples_per_source: 0", ":18:29", {"is 0"}});
  expect_recipe_refused(text, {"every_steps: 5", "every_steps: -1", ":18:14", {"is -1"}});
}

TEST(RecipeValidate, NamesAreFitForDirectoriesAndReports) {
  const std::vector<WrongRecipe> cases = {
      {"name: \"small\"", "name: \"a/b\"", ":2:1", {"name names directories"}},
      {"name: \"small\"", "name: \"\"", ":2:1", {"name"}},
      {"name: \"small\"", "name: \"s\" description: \"\\377\"", ":2:11", {"UTF-8"}},
      {"name: \"small\"", "name: \"s\" description: \"\\355\\240\\200\"", ":2:11", {"UTF-8"}},
      {"name: \"small\"", "name: \"s\" description: \"\\300\\200\"", ":2:11", {"UTF-8"}},
      {"name: \"small\"", "name: \"s\" description: \"\\033[2J\"", ":2:11", {"control"}},
  };
  for (const WrongRecipe& wrong : cases) expect_recipe_refused(kGpt2Recipe, wrong);
}

}  // namespace
}  // namespace kente
