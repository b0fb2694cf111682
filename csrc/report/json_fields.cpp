#include "csrc/report/json_fields.h"

#include <cmath>

#include "csrc/base/errors.h"
#include "csrc/base/strict_json.h"

namespace kente {
namespace {

using Json = nlohmann::json;
constexpr int64_t kMostFileBytes = int64_t{1} << 30;

}  // namespace

std::optional<Json> parse_record(std::string_view text) {
  try {
    return parse_strict_json(text, "", {.bytes = kMostFileBytes, .values_are = JsonValues::kAny});
  } catch (const FormatError&) {
    return std::nullopt;
  }
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

double number_at(const Json& object, const char* key, double otherwise) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

int64_t integer_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return 0;
  if (found->is_number_float()) {
    const double value = found->get<double>();
    return std::abs(value) < 9e18 ? static_cast<int64_t>(value) : 0;
  }
  return found->get<int64_t>();
}

const Json& array_at(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : kNone;
}

}  // namespace kente
