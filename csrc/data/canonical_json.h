#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kente {

/// The one text of a JSON value that digests are taken over: keys sorted, no spaces, UTF-8
/// unescaped, numbers as Python prints them. Byte for byte Python's json.dumps(value,
/// sort_keys=True, separators=(",", ":"), ensure_ascii=False).
std::string canonical_json(const nlohmann::json& value);

}  // namespace kente
