#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

/// A plan as `kente plan` writes it, for 6 layers and 16 grains.
const std::string kPlan = R"(version: 1
schedule: ONE_F_ONE_B
replica {
  share: 12
  grains_per_micro_batch: 2
  stage {
    ranks: 0
    layers { first: 0 last: 2 }
    compute: F32
    recompute: NONE
  }
  stage {
    ranks: 1
    layers { first: 3 last: 5 }
    compute: F32
    recompute: FULL
  }
}
replica {
  share: 4
  grains_per_micro_batch: 1
  stage {
    ranks: 2
    layers { first: 0 last: 5 }
    compute: F32
    recompute: NONE
  }
}
prediction {
  step_seconds: 1.5
  bubble: 0.2
}
)";

Recipe fast_recipe() {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.numerics.reduction = Reduction::kFast;
  return recipe;
}

/// One slip of an editor: where the error stands, what it says is wrong and what to do.
struct Edit {
  const char* name;
  const char *from, *to;
  const char* place;  // line and column
  const char *wrong, *fix;
};

class EditedPlan : public testing::TestWithParam<Edit> {};

TEST_P(EditedPlan, IsRefusedWithTheLineWhatIsWrongAndWhatToDo) {
  const Edit& edit = GetParam();
  const std::string error = error_of(
      [&] { parse_plan(with(kPlan, edit.from, edit.to), "plan.textproto", fast_recipe()); });
  EXPECT_THAT(error, testing::StartsWith(std::string("plan.textproto:") + edit.place + ": "));
  EXPECT_THAT(error, HasSubstr(edit.wrong));
  EXPECT_THAT(error, HasSubstr(edit.fix));
  EXPECT_THAT(error, Not(HasSubstr("\n")));
}

TEST(EditedPlan, TheUneditedPlanIsRead) {
  EXPECT_EQ(parse_plan(kPlan, "p", fast_recipe()).replicas.size(), 2u);
}

const Edit kEdits[] = {
    {"ZeroShare", "share: 12", "share: 0", "4:3", "share is 0", "allowed: 1 to 16"},
    {"NegativeShare", "share: 12", "share: -12", "4:3", "share is -12", "allowed: 1 to 16"},
    {"SharesBeyondTheStep", "share: 4\n", "share: 5\n", "20:3", "add up to 17",
     "must be the recipe's grains per step, 16"},
    {"SharesBelowTheStep", "share: 12", "share: 11", "20:3", "add up to 15",
     "must be the recipe's grains per step, 16"},
    {"ShareMissing", "share: 12\n", "\n", "3:1", "share is missing", "add it"},
    {"MicroBatchLargerThanTheShare", "grains_per_micro_batch: 1", "grains_per_micro_batch: 5",
     "21:3", "grains_per_micro_batch is 5", "allowed: 1 to 4"},
    {"MicroBatchOfNothing", "grains_per_micro_batch: 2", "grains_per_micro_batch: 0", "5:3",
     "grains_per_micro_batch is 0", "allowed: 1 to 12"},
    {"RankTwice", "ranks: 2", "ranks: 1", "23:5", "rank 1 is used by replica[0].stage[1] too",
     "give each stage a rank of its own"},
    {"NegativeRank", "ranks: 2", "ranks: -1", "23:5", "is -1", "allowed: 0 to"},
    {"TwoRanksInAStage", "ranks: 2", "ranks: [2, 3]", "23:5", "has 2 ranks", "exactly one"},
    {"NoRank", "    ranks: 2\n", "", "22:3", "has 0 ranks", "exactly one"},
    {"LayerHole", "first: 3 last: 5", "first: 4 last: 5", "3:1", "layer 3 is on no stage",
     "place layers 0 to 5"},
    {"LayerTwice", "first: 3 last: 5", "first: 2 last: 5", "14:5",
     "layer 2 is on replica[0].stage[0] too", "place each layer once"},
    {"LayersBackwards", "first: 3 last: 5", "first: 5 last: 3", "14:23", "last is 3",
     "allowed: 5 to 5"},
    {"RangesNotAscending", "layers { first: 0 last: 5 }",
     "layers { first: 3 last: 5 } layers { first: 0 last: 2 }", "24:33", "begins at layer 0",
     "list ranges ascending"},
    {"LayerBeyondTheModel", "first: 3 last: 5", "first: 3 last: 6", "14:23", "last is 6",
     "allowed: 3 to 5"},
    {"UnknownField", "compute: F32\n    recompute: FULL", "dtype: F32", "15:5",
     "there is no field \"dtype\"", "fields are: ranks, layers, compute, recompute"},
    {"UnknownSchedule", "ONE_F_ONE_B", "INTERLEAVED", "2:11", "there is no value \"INTERLEAVED\"",
     "write one of: GPIPE, ONE_F_ONE_B, ZERO_BUBBLE"},
    {"DtypeTheRecipeForbids", "compute: F32\n    recompute: FULL",
     "compute: BF16\n    recompute: FULL", "15:5", "compute is BF16", "the recipe allows F32"},
    {"PredictionThatIsNoNumber", "step_seconds: 1.5", "step_seconds: nan", "30:3",
     "step_seconds is nan", "allowed: 0 or above"},
    {"BubbleBeyondOne", "bubble: 0.2", "bubble: 20", "31:3", "bubble is 20", "allowed: 0 to 1"},
    {"BraceMissing", "    recompute: NONE\n  }\n  stage {", "    recompute: NONE\n  stage {",
     "11:3", "stage", "fields are"},
    {"FieldTwice", "share: 12", "share: 12 share: 3", "4:13", "share is given twice", "keep one"},
    {"NoStage", "prediction {", "replica { share: 1 }\nprediction {", "29:1", "has no stage",
     "write stage {"},
    {"NewerVersion", "version: 1", "version: 9", "1:1", "version 9 is not known",
     "take the kente that wrote the file"},
};

INSTANTIATE_TEST_SUITE_P(Plans, EditedPlan, testing::ValuesIn(kEdits),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace kente
