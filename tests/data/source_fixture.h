#pragma once

#include <functional>
#include <string>

#include "csrc/base/errors.h"
#include "csrc/config/recipe.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {

/// A recipe of one source "test" (T 16, vocabulary 96).
inline Recipe one_source_recipe() {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.model.rope_theta = 0;
  recipe.validation = {.every_steps = 1, .samples_per_source = 1000};
  return recipe;
}

/// What a UsageError or FormatError says, with its kind in front; "no error" if none comes.
inline std::string refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UsageError& error) {
    return std::string("usage: ") + error.what();
  } catch (const FormatError& error) {
    return std::string("format: ") + error.what();
  }
  return "no error";
}

/// text with the first occurrence of from replaced.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw InternalError("the text has no " + from);
  return text.replace(at, from.size(), to);
}

}  // namespace kente
