#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

namespace kente {

/// Typed access to a parsed document. Every failure is a FormatError that names file and the
/// field's path.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& value, std::string file, std::string path)
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}

  /// An object with exactly these keys.
  void expect_keys(std::initializer_list<const char*> keys) const;
  JsonReader at(const char* key) const;
  /// The elements of an array.
  std::vector<JsonReader> items() const;
  /// The members of an object, by key.
  std::vector<std::pair<std::string, JsonReader>> members() const;
  std::string text() const;
  /// A number of at most 2^63 - 1.
  int64_t integer() const;

  [[noreturn]] void fail(const std::string& what) const;

 private:
  const nlohmann::json& value_;
  std::string file_;
  std::string path_;
};

}  // namespace kente
