#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace kente {

/// JSON without duplicate keys, nested at most 32 deep; empty when text is not that.
std::optional<nlohmann::json> parse_record(std::string_view text);

/// Fields of an object, with a default where the key is missing or null. A value of another type is
/// the default too: a record of a run is shown as far as it can be read.
std::string text_at(const nlohmann::json& object, const char* key);
double number_at(const nlohmann::json& object, const char* key, double otherwise = 0);
int64_t integer_at(const nlohmann::json& object, const char* key);
/// The array under key; an empty one when there is none.
const nlohmann::json& array_at(const nlohmann::json& object, const char* key);

}  // namespace kente
