#include "csrc/ckpt/strict_json.h"

#include <iterator>
#include <limits>
#include <set>
#include <vector>

#include "csrc/base/errors.h"

namespace kente {
namespace {

/// Reads text and tells how far the parser has come, for the offset of a refusal.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

/// Walks over the document without building it, and remembers the first thing that is not allowed.
class Checker : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Checker(const JsonLimits& limits) : limits_(limits) {}
  const std::string& refusal() const { return refusal_; }

  bool null() override { return refuse("null is not allowed"); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t, const string_t& text) override {
    return refuse("the number " + text.substr(0, 40) + " is not an unsigned 64-bit integer");
  }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return open(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      return refuse("the key \"" + name.substr(0, 80) + "\" is given twice");
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return refuse("not JSON from here on");
  }

 private:
  bool refuse(const std::string& what) {
    refusal_ = what;
    return false;
  }
  bool count() {
    if (++values_ <= limits_.values) return true;
    return refuse("more than " + std::to_string(limits_.values) + " values");
  }
  bool open() {
    keys_.emplace_back();
    if (static_cast<int>(keys_.size()) > limits_.depth)
      return refuse("nested deeper than " + std::to_string(limits_.depth));
    return count();
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  JsonLimits limits_;
  int64_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open; empty sets for arrays
  std::string refusal_;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text, const std::string& file,
                                 const JsonLimits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.bytes)
    throw FormatError(file, -1,
                      std::to_string(text.size()) + " bytes of JSON, at most " +
                          std::to_string(limits.bytes) + " are read");
  const char* reached = text.data();
  const char* end = text.data() + text.size();
  Checker checker(limits);
  if (!nlohmann::json::sax_parse(CountingIterator(text.data(), &reached),
                                 CountingIterator(end, &reached), &checker))
    throw FormatError(file, limits.offset + (reached - text.data()), checker.refusal());
  return nlohmann::json::parse(text);
}

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
