#include "csrc/report/strict_json.h"

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace kente {
namespace {

using Json = nlohmann::json;
constexpr int kDepthCap = 32;

/// What a parse callback saw that is not allowed.
struct Watch {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  bool refused = false;

  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDepthCap) refused = true;
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      refused = true;
    return !refused || event == Json::parse_event_t::key;
  }
};

}  // namespace

std::optional<Json> parse_record(std::string_view text) {
  Watch watch;
  // The second argument is a std::function, which copies what it is given: hand it a reference.
  const Json parsed = Json::parse(
      text,
      [&watch](int depth, Json::parse_event_t event, Json& value) {
        return watch(depth, event, value);
      },
      false);
  if (parsed.is_discarded() || watch.refused) return std::nullopt;
  return parsed;
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
