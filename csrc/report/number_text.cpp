#include "csrc/report/number_text.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace kente {
namespace {

constexpr const char* kNothing = "–";

std::string scaled(double value, double base, const std::array<const char*, 6>& units) {
  size_t unit = 0;
  while (std::abs(value) >= base * 0.9995 && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  const int digits = unit == 0 || std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fixed_text(value, digits) + units[unit];
}

}  // namespace

std::string fixed_text(double value, int digits) {
  if (!std::isfinite(value)) return kNothing;
  std::array<char, 400> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string or_dash(const std::optional<double>& value, int digits) {
  return value ? fixed_text(*value, digits) : "–";
}

std::string px(double value) { return fixed_text(value, 1); }

std::string short_text(double value) {
  if (!std::isfinite(value)) return kNothing;
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string count_text(double value) {
  if (!std::isfinite(value)) return kNothing;
  return scaled(value, 1000, {"", " k", " M", " G", " T", " P"});
}

std::string bytes_text(double bytes) {
  if (!std::isfinite(bytes)) return kNothing;
  return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB", " PiB"});
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds)) return kNothing;
  if (seconds < 1) return fixed_text(seconds * 1000, seconds < 0.1 ? 1 : 0) + " ms";
  if (seconds < 59.95) return fixed_text(seconds, 1) + " s";
  const int64_t whole = std::llround(std::min(seconds, 1e15));
  const auto two = [](int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); };
  if (whole < 3600) return std::to_string(whole / 60) + " min " + two(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + two(whole / 60 % 60) + " min";
}

}  // namespace kente
