#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/file_system.h"
#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(RecipeParse, FillsEveryDefaultOfGpt2) {
  const Recipe recipe = parse_recipe(kGpt2Recipe, "r");
  Recipe want;
  want.name = "small";
  want.model = {.family = ModelFamily::kGpt2,
                .vocab_size = 96,
                .hidden_size = 32,
                .intermediate_size = 128,
                .num_hidden_layers = 4,
                .num_attention_heads = 4,
                .num_key_value_heads = 4,
                .max_position_embeddings = 16,
                .norm_epsilon = 1e-5,
                .rope_theta = 0,
                .tie_word_embeddings = true,
                .initializer_range = 0.02};
  want.data.sources = {{.id = "a", .digest = "", .weight = 2}, {.id = "b", .digest = ""}};
  want.optimizer = {.learning_rate = 0.003,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .epsilon = 1e-8,
                    .weight_decay = 0.1,
                    .clip_norm = 1};
  want.lr = {.kind = LrSchedule::kCosine, .warmup_steps = 0, .decay_steps = 0, .min_ratio = 0.1};
  want.steps = 30;
  want.sequence_length = 16;
  want.global_batch_tokens = 256;
  want.grain_samples = 1;
  want.seed = 1;
  EXPECT_EQ(recipe, want);
}

TEST(RecipeParse, FillsTheFamilysDefaultsOfLlama) {
  const Recipe recipe = parse_recipe(llama_recipe(), "r");
  EXPECT_EQ(recipe.model.family, ModelFamily::kLlama);
  EXPECT_EQ(recipe.model.norm_epsilon, 1e-6);
  EXPECT_EQ(recipe.model.rope_theta, 10000);
  EXPECT_FALSE(recipe.model.tie_word_embeddings);
}

TEST(RecipeParse, BoundaryFollowsComputeUnlessWritten) {
  const std::string bf16 = kGpt2Recipe + "numerics { compute: BF16 }\n";
  EXPECT_EQ(parse_recipe(bf16, "r").numerics.boundary, DType::kBF16);
  const std::string both = kGpt2Recipe + "numerics { compute: BF16 boundary: F32 }\n";
  EXPECT_EQ(parse_recipe(both, "r").numerics.boundary, DType::kF32);
}

TEST(RecipeParse, SubstitutesArePartOfTheTrainingAndWrittenOnlyWhereThereAreSome) {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.numerics.reduction = Reduction::kFast;
  const std::string without = recipe_sha256(recipe);
  EXPECT_THAT(to_text(recipe), testing::Not(HasSubstr("substitute")));
  recipe.numerics.substitutes = {DType::kBF16};
  EXPECT_EQ(parse_recipe(to_text(recipe), "r").numerics, recipe.numerics);
  EXPECT_NE(recipe_sha256(recipe), without);
}

TEST(RecipeParse, TextOfAResolvedRecipeParsesToTheSameRecipe) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2}) {
    for (const LrSchedule kind :
         {LrSchedule::kConstant, LrSchedule::kCosine, LrSchedule::kLinear, LrSchedule::kWsd}) {
      Recipe recipe = small_recipe(family);
      if (family == ModelFamily::kGpt2) recipe.model.rope_theta = 0;
      recipe.description = "Zwölf \"Boxkämpfer\"\nand a \\ line";
      recipe.lr.kind = kind;
      recipe.lr.decay_steps = kind == LrSchedule::kWsd ? 7 : 0;
      recipe.lr.min_ratio = 0.1 + 0.2;  // needs all 17 digits
      recipe.numerics.compute = recipe.numerics.boundary = DType::kBF16;
      recipe.validation = {.every_steps = 5, .samples_per_source = 3};
      recipe.seed = ~uint64_t{0};
      recipe.data.sources.push_back({.id = "b", .digest = std::string(64, 'a'), .weight = 1e-3});
      recipe.data.tokenizer_digest = std::string(64, '0');
      recipe.data.stop_at_documents = true;
      EXPECT_EQ(parse_recipe(to_text(recipe), "r"), recipe) << to_text(recipe);
    }
  }
}

TEST(RecipeParse, LoadsAFile) {
  const TemporaryDirectory directory;
  write_text_file(*posix_file_system(), directory / "r.textproto", kGpt2Recipe);
  EXPECT_EQ(load_recipe(directory / "r.textproto"), parse_recipe(kGpt2Recipe, "r"));
}

TEST(RecipeParse, DigestLeavesOutNameAndDescriptionAndNothingElse) {
  const Recipe recipe = parse_recipe(kGpt2Recipe, "r");
  const std::string digest = recipe_sha256(recipe);
  EXPECT_EQ(digest.size(), 64u);
  Recipe renamed = recipe;
  renamed.name = "other";
  renamed.description = "words";
  EXPECT_EQ(recipe_sha256(renamed), digest);
  for (const std::string change : {"steps=31",
                                   "sequence_length=8",
                                   "global_batch_tokens=512",
                                   "grain_samples=2",
                                   "seed=2",
                                   "model.model_type=llama",
                                   "model.vocab_size=97",
                                   "model.hidden_size=64",
                                   "model.intermediate_size=96",
                                   "model.num_hidden_layers=5",
                                   "model.num_attention_heads=2",
                                   "model.max_position_embeddings=17",
                                   "model.layer_norm_epsilon=1e-6",
                                   "model.tie_word_embeddings=false",
                                   "model.initializer_range=0.01",
                                   "data.source[1].id=c",
                                   "data.source[1].weight=3",
                                   "data.stop_at_documents=true",
                                   "optimizer.learning_rate=0.1",
                                   "optimizer.beta1=0.8",
                                   "optimizer.beta2=0.8",
                                   "optimizer.epsilon=1e-7",
                                   "optimizer.weight_decay=0",
                                   "optimizer.clip_norm=0",
                                   "lr.kind=LINEAR",
                                   "lr.warmup_steps=1",
                                   "lr.min_ratio=0",
                                   "numerics.compute=BF16",
                                   "numerics.boundary=BF16",
                                   "numerics.reduction=EXACT",
                                   "validation.every_steps=1"}) {
    std::vector<std::string> overrides = {change};
    if (change == "model.model_type=llama") overrides.push_back("model.intermediate_size=128");
    EXPECT_NE(recipe_sha256(parse_recipe(kGpt2Recipe, "r", overrides)), digest) << change;
  }
}

TEST(RecipeParse, UnknownFieldNamesThePlaceAndTheFieldsThereAre) {
  const std::string error = error_of(
      [] { parse_recipe(with(kGpt2Recipe, "  hidden_size", "  hiden_size"), "recipe.textproto"); });
  EXPECT_THAT(error, StartsWith("recipe.textproto:9:3: "));
  EXPECT_THAT(error, HasSubstr("no field \"hiden_size\""));
  EXPECT_THAT(error, HasSubstr("hidden_size"));
  EXPECT_THAT(error, Not(HasSubstr("learning_rate")));
}

TEST(RecipeParse, WrongTypeNamesThePlace) {
  const std::string error =
      error_of([] { parse_recipe(with(kGpt2Recipe, "steps: 30", "steps: many"), "r"); });
  EXPECT_THAT(error, StartsWith("r:3:8: "));
  EXPECT_THAT(error, HasSubstr("Expected integer, got: many"));
  EXPECT_THAT(error_of([] { parse_recipe(with(kGpt2Recipe, "steps: 30", "steps: 3.5"), "r"); }),
              StartsWith("r:3:8: "));
}

TEST(RecipeParse, UnknownEnumValueNamesThoseThereAre) {
  const std::string error = error_of([] { parse_recipe(with(kGpt2Recipe, "gpt2", "gpt3"), "r"); });
  EXPECT_THAT(error, StartsWith("r:7:15: "));
  EXPECT_THAT(error, HasSubstr("gpt2, llama, qwen2"));
}

TEST(RecipeParse, FieldGivenTwiceIsRefused) {
  const std::string error = error_of([] { parse_recipe(kGpt2Recipe + "steps: 31\n", "r"); });
  EXPECT_THAT(error, StartsWith("r:18:1: "));
  EXPECT_THAT(error, HasSubstr("steps is given twice"));
}

TEST(RecipeParse, NewerVersionIsCalledNewerEvenWithUnknownFields) {
  const std::string newer = with(kGpt2Recipe, "version: 1", "version: 2\nwarp: 9");
  EXPECT_THAT(error_of([&] { parse_recipe(newer, "r"); }), HasSubstr("version 2 is not known"));
}

TEST(RecipeParse, NamesOfHuggingFaceFields) {
  EXPECT_EQ(model_type_of(ModelFamily::kQwen2), "qwen2");
  EXPECT_EQ(norm_epsilon_name(ModelFamily::kGpt2), "layer_norm_epsilon");
  EXPECT_EQ(norm_epsilon_name(ModelFamily::kLlama), "rms_norm_eps");
}

}  // namespace
}  // namespace kente
