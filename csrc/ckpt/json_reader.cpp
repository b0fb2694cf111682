#include "csrc/ckpt/json_reader.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "csrc/base/errors.h"

namespace kente {

void JsonReader::fail(const std::string& what) const {
  throw FormatError(file_, -1, path_ + ": " + what);
}

void JsonReader::expect_keys(std::initializer_list<const char*> keys) const {
  if (!value_.is_object()) fail("not an object");
  for (const char* key : keys)
    if (!value_.contains(key)) fail(std::string("lacks the key \"") + key + "\"");
  if (value_.size() == keys.size()) return;
  const std::set<std::string> known(keys.begin(), keys.end());
  for (const auto& member : value_.items())
    if (!known.contains(member.key())) fail("unknown key \"" + member.key().substr(0, 80) + "\"");
}

JsonReader JsonReader::at(const char* key) const {
  if (!value_.is_object() || !value_.contains(key))
    fail(std::string("lacks the key \"") + key + "\"");
  return {value_.at(key), file_, path_ + "." + key};
}

std::vector<JsonReader> JsonReader::items() const {
  if (!value_.is_array()) fail("not an array");
  std::vector<JsonReader> items;
  items.reserve(value_.size());
  for (const auto& item : value_)
    items.emplace_back(item, file_, path_ + "[" + std::to_string(items.size()) + "]");
  return items;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
  if (!value_.is_object()) fail("not an object");
  std::vector<std::pair<std::string, JsonReader>> members;
  members.reserve(value_.size());
  for (const auto& member : value_.items())
    members.emplace_back(
        member.key(), JsonReader(member.value(), file_, path_ + "." + member.key().substr(0, 80)));
  return members;
}

std::string JsonReader::text() const {
  if (!value_.is_string()) fail("not a string");
  return value_.get<std::string>();
}

int64_t JsonReader::integer() const {
  if (!value_.is_number_unsigned()) fail("not a number");
  const uint64_t value = value_.get<uint64_t>();
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    fail(std::to_string(value) + " is too large");
  return static_cast<int64_t>(value);
}

}  // namespace kente
