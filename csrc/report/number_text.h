#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kente {

/// Numbers as people read them. Not finite: "–".
std::string fixed_text(double value, int digits);
/// fixed_text, or "–" for what is not known.
std::string or_dash(const std::optional<double>& value, int digits);
/// A place in a picture, in pixels: one digit.
std::string px(double value);
/// Four significant digits, no trailing zeros: "0.0123", "8.771", "1.2e-05".
std::string short_text(double value);
/// "950", "12.3 k", "4.56 M"
std::string count_text(double value);
/// "0.42 s", "3 min 12 s", "2 h 05 min"
std::string duration_text(double seconds);
/// "1.2 GiB"
std::string bytes_text(double bytes);

}  // namespace kente
