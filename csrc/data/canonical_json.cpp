#include "csrc/data/canonical_json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;

/// Walks the text without building it: refuses what the library itself would let through.
class StrictChecker : public nlohmann::json_sax<json> {
 public:
  explicit StrictChecker(const std::string& file) : file_(file) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t value, const string_t& text) override {
    if (!std::isfinite(value)) throw FormatError(file_, -1, "number out of range: " + text);
    return true;
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      throw FormatError(file_, -1,
                        "key " + json(name).dump(-1, ' ', true) +
                            " is given twice; the file is damaged or made by hand");
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    throw FormatError(file_, static_cast<int64_t>(position),
                      "not JSON; make the source again with kente data prepare");
  }

 private:
  bool open() {
    if (keys_.size() == kMaxDepth)
      throw FormatError(file_, -1, "nested deeper than " + std::to_string(kMaxDepth) + " levels");
    keys_.emplace_back();
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& file_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

void put_string(const std::string& text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20) {
          out += c;
        } else {
          out.append("\\u00").append(1, kHex[c >> 4]).append(1, kHex[c & 15]);
        }
    }
  }
  out += '"';
}

// Python's repr(float): the shortest digits that read back, with an exponent below 1e-4 and from
// 1e16.
void put_double(double value, std::string& out) {
  std::array<char, 40> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific)
          .ptr;
  const std::string scientific(text.data(), end);
  const size_t e = scientific.find('e');
  const int exponent = std::stoi(scientific.substr(e + 1));
  if (exponent < -4 || exponent >= 16) {
    out += scientific;
    return;
  }
  std::array<char, 40> plain{};
  const auto last =
      std::to_chars(plain.data(), plain.data() + plain.size(), value, std::chars_format::fixed).ptr;
  const std::string fixed(plain.data(), last);
  out += fixed;
  if (fixed.find('.') == std::string::npos) out += ".0";
}

void put(const json& value, std::string& out) {
  switch (value.type()) {
    case json::value_t::object: {
      char separator = '{';
      for (const auto& [key, member] : value.items()) {
        out += separator;
        put_string(key, out);
        out += ':';
        put(member, out);
        separator = ',';
      }
      out += value.empty() ? "{}" : "}";
      return;
    }
    case json::value_t::array: {
      char separator = '[';
      for (const json& element : value) {
        out += separator;
        put(element, out);
        separator = ',';
      }
      out += value.empty() ? "[]" : "]";
      return;
    }
    case json::value_t::string:
      put_string(value.get_ref<const std::string&>(), out);
      return;
    case json::value_t::number_float:
      put_double(value.get<double>(), out);
      return;
    default:
      out += value.dump();
  }
}

}  // namespace

json parse_strict_json(const std::string& text, const std::string& file) {
  StrictChecker checker(file);
  json::sax_parse(text, &checker);
  return json::parse(text);
}

std::string canonical_json(const json& value) {
  std::string out;
  put(value, out);
  return out;
}

}  // namespace kente
