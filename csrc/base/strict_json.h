#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace kente {

/// kUnsigned: what our manifests and safetensors headers hold: no null, and every number an
/// unsigned 64-bit integer. kAny: everything JSON has; numbers must be finite as double.
enum class JsonValues { kUnsigned, kAny };

/// What hostile JSON may cost.
struct JsonLimits {
  int64_t bytes = 64 << 20;
  int depth = 32;
  int64_t values = 8 << 20;
  JsonValues values_are = JsonValues::kUnsigned;
  int64_t offset = 0;  // where the text begins in its file, for messages
};

/// Parses JSON of which no key is given twice in an object. The limits are checked before anything
/// is allocated for the document. Throws FormatError{file, offset}.
nlohmann::json parse_strict_json(std::string_view text, const std::string& file,
                                 const JsonLimits& limits);

}  // namespace kente
