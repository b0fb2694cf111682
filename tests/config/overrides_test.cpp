#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"

namespace kente {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

Recipe with_overrides(const std::vector<std::string>& overrides) {
  return parse_recipe(kGpt2Recipe, "r", overrides);
}

TEST(Overrides, ReachScalarsNestedFieldsEnumsTextsAndElements) {
  const Recipe recipe = with_overrides(
      {"steps=20", "model.hidden_size=64", "model.tie_word_embeddings=false",
       "numerics.reduction=EXACT", "name=other", "description=\"quo\\\"ted\"",
       "data.source[0].weight=0.5", "optimizer.learning_rate=1e-4", "lr.kind=LINEAR"});
  EXPECT_EQ(recipe.steps, 20);
  EXPECT_EQ(recipe.model.hidden_size, 64);
  EXPECT_EQ(recipe.model.intermediate_size, 256) << "defaults follow overrides";
  EXPECT_FALSE(recipe.model.tie_word_embeddings);
  EXPECT_EQ(recipe.numerics.reduction, Reduction::kExact);
  EXPECT_EQ(recipe.name, "other");
  EXPECT_EQ(recipe.description, "quo\"ted");
  EXPECT_EQ(recipe.data.sources[0].weight, 0.5);
  EXPECT_EQ(recipe.optimizer.learning_rate, 1e-4);
  EXPECT_EQ(recipe.lr.kind, LrSchedule::kLinear);
}

TEST(Overrides, LastOneWinsAndOnePastTheEndAppends) {
  const Recipe recipe =
      with_overrides({"steps=20", "steps=21", "data.source[2].id=c", "data.source[2].weight=3"});
  EXPECT_EQ(recipe.steps, 21);
  ASSERT_EQ(recipe.data.sources.size(), 3u);
  EXPECT_EQ(recipe.data.sources[2], (SourceConfig{.id = "c", .digest = "", .weight = 3}));
}

TEST(Overrides, ThatAreWrongSayWhichAndWhatIsAllowed) {
  const auto error = [](const std::string& text) {
    return error_of([&] { with_overrides({text}); });
  };
  EXPECT_THAT(error("steps"), AllOf(StartsWith("--set steps: "), HasSubstr("field=value")));
  EXPECT_THAT(error("model.width=3"),
              AllOf(HasSubstr("no field \"width\""), HasSubstr("hidden_size")));
  EXPECT_THAT(error("model=3"), HasSubstr("model is a group"));
  EXPECT_THAT(error("steps.a=3"), HasSubstr("steps has no fields"));
  EXPECT_THAT(error("data.source.weight=3"), HasSubstr("source is a list"));
  EXPECT_THAT(error("data.source[7].weight=3"), HasSubstr("source has 2 elements"));
  EXPECT_THAT(error("model[0].hidden_size=3"), HasSubstr("model is not a list"));
  EXPECT_THAT(error("steps=many"), StartsWith("--set steps=many: "));
  EXPECT_THAT(error("steps=3 4"), StartsWith("--set steps=3 4: "));
  EXPECT_THAT(error("steps="), StartsWith("--set steps=: "));
  EXPECT_THAT(error("lr.kind=SINE"), HasSubstr("CONSTANT, COSINE, LINEAR, WSD"));
  for (const char* path : {"", ".", "a..b", "data.source[", "data.source[-1].id",
                           "data.source[99999999999].id", "data.source[0]x.id"})
    EXPECT_THAT(error(std::string(path) + "=1"), StartsWith("--set ")) << path;
}

TEST(Overrides, AreNamedWhereTheirValueIsRefused) {
  EXPECT_THAT(error_of([] { with_overrides({"model.num_attention_heads=5"}); }),
              StartsWith("--set model.num_attention_heads=5: model.num_attention_heads is 5"));
  EXPECT_THAT(error_of([] { with_overrides({"version=2"}); }), StartsWith("--set version=2: "));
}

}  // namespace
}  // namespace kente
