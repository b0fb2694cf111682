#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kente {

/// directory/.tmp-<id>: an attempt under way. Throws InternalError for an id that is no plain name.
std::string temporary_directory(const std::string& directory, const std::string& id);

/// True for the names of attempts and of steps on their way out, which nobody reads.
bool is_leftover(const std::string& name);

/// The step of a name that step_directory() makes; empty for any other name.
std::optional<int64_t> step_of_directory(const std::string& name);

}  // namespace kente
