#include "csrc/data/canonical_json.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string>

namespace kente {
namespace {

using nlohmann::json;

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

std::string canonical_json(const json& value) {
  std::string out;
  put(value, out);
  return out;
}

}  // namespace kente
