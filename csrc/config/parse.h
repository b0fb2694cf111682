#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"

namespace kente {

/// Longer texts are refused before they are read.
inline constexpr int64_t kMaxConfigBytes = 4 << 20;

/// Parses, fills defaults and validates. file is for messages only.
/// overrides: "field=value" with the field's path, as --set gives them: "steps=20",
/// "model.model_type=llama", "data.source[0].weight=2"; one past the last index appends an element.
/// Throws UsageError "file:line:column: what; what to do".
Recipe parse_recipe(const std::string& text, const std::string& file,
                    const std::vector<std::string>& overrides = {});
/// parse_recipe on a file of at most kMaxConfigBytes.
Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides = {});

/// Parses, fills defaults and validates against the recipe. Throws UsageError as parse_recipe does.
/// A plan made in memory is validated by parse_plan(to_text(plan), "plan", recipe).
Plan parse_plan(const std::string& text, const std::string& file, const Recipe& recipe);
Plan load_plan(const std::string& path, const Recipe& recipe);

/// Protobuf text with every field spelt out: parse_recipe(to_text(r)) == r for a valid recipe.
std::string to_text(const Recipe& recipe);
std::string to_text(const Plan& plan);

/// SHA-256 over to_text without name and description: equal for recipes that train the same.
std::string recipe_sha256(const Recipe& recipe);

/// The model_type of Hugging Face's config.json: "gpt2", "llama", "qwen2".
std::string_view model_type_of(ModelFamily family);
/// The config.json field of ModelConfig::norm_epsilon: "layer_norm_epsilon" or "rms_norm_eps".
std::string_view norm_epsilon_name(ModelFamily family);

}  // namespace kente
