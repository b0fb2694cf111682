#include "csrc/base/strict_json.h"

#include <cmath>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
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

  bool null() override { return strict_numbers() ? refuse("null is not allowed") : count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(number_integer_t) override {
    return strict_numbers() ? refuse("a negative number") : count();
  }
  bool number_unsigned(number_unsigned_t) override { return count(); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!strict_numbers())
      return std::isfinite(value) ? count() : refuse("number out of range: " + text.substr(0, 40));
    return refuse("the number " + text.substr(0, 40) + " is not an unsigned 64-bit integer");
  }
  bool string(string_t&) override { return count(); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return open(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      return refuse("the key " +
                    nlohmann::json(name.substr(0, 80))
                        .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
                    " is given twice");
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    return refuse("not JSON from here on");
  }

 private:
  bool strict_numbers() const { return limits_.values_are == JsonValues::kUnsigned; }
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

}  // namespace kente
