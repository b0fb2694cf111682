#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kente {

/// Parses JSON from strangers: duplicate keys, more than 32 levels, numbers beyond double and
/// invalid UTF-8 are refused with FormatError(file, offset).
nlohmann::json parse_strict_json(const std::string& text, const std::string& file);

/// The one text of a JSON value that digests are taken over: keys sorted, no spaces, UTF-8
/// unescaped, numbers as Python prints them. Byte for byte Python's json.dumps(value,
/// sort_keys=True, separators=(",", ":"), ensure_ascii=False).
std::string canonical_json(const nlohmann::json& value);

}  // namespace kente
