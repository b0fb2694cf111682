#pragma once

#include "csrc/config/text_document.h"

namespace kente::proto {
class Recipe;
}

namespace kente {

/// What must be written, because no default could be right.
void require_fields(const proto::Recipe& recipe, const TextDocument& document);

/// Every default of a recipe, in one place. Needs require_fields.
void fill_defaults(proto::Recipe& recipe);

/// Everything a recipe must fulfil; throws UsageError naming field, value and what is allowed.
/// Needs fill_defaults.
void validate(const proto::Recipe& recipe, const TextDocument& document);

}  // namespace kente
