#include <gtest/gtest.h>

#include <filesystem>

#include "csrc/config/model_layout.h"
#include "csrc/config/parse.h"

namespace kente {
namespace {

const std::string kRecipes = std::string(KENTE_SOURCE_DIR) + "/recipes";

// quickstart.plan.textproto is a plan for quickstart.textproto.
bool is_plan(const std::filesystem::path& path) { return path.stem().extension() == ".plan"; }

TEST(SharedRecipes, AllAreValidAndNamedAsTheirFiles) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRecipes)) {
    if (entry.path().extension() != ".textproto" || is_plan(entry.path())) continue;
    const Recipe recipe = load_recipe(entry.path().string());
    EXPECT_EQ(recipe.name, entry.path().stem().string());
    EXPECT_FALSE(recipe.description.empty()) << entry.path();
    EXPECT_EQ(parse_recipe(to_text(recipe), "resolved"), recipe);
    ++seen;
  }
  EXPECT_GE(seen, 3);
}

TEST(SharedRecipes, QuickstartHasAtMostTwoMillionParametersAndFourLanguages) {
  const Recipe recipe = load_recipe(kRecipes + "/quickstart.textproto");
  EXPECT_LE(parameter_count(recipe.model), 2'000'000);
  EXPECT_GE(recipe.data.sources.size(), 4u);
  EXPECT_GT(recipe.validation.every_steps, 0);
}

TEST(SharedRecipes, PlansAreValidForTheirRecipes) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kRecipes)) {
    if (!is_plan(entry.path())) continue;
    const std::string recipe = entry.path().stem().stem().string();
    const Plan plan =
        load_plan(entry.path().string(), load_recipe(kRecipes + "/" + recipe + ".textproto"));
    EXPECT_GE(plan.replicas.size(), 2u);
    ++seen;
  }
  EXPECT_GE(seen, 1);
}

TEST(SharedRecipes, Gpt2SmallHasTheParametersOfGpt2) {
  // Counted from Radford et al. 2019's smallest model: wte + wpe + 12 blocks + final norm.
  EXPECT_EQ(parameter_count(load_recipe(kRecipes + "/gpt2-124m.textproto").model), 124'439'808);
}

}  // namespace
}  // namespace kente
