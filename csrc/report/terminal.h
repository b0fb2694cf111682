#pragma once

#include <string>
#include <utility>
#include <vector>

namespace kente {

enum class Align { kLeft, kRight };

/// Columns two spaces apart, as wide as their widest cell; no header line when header is empty.
/// Control characters in cells become '?': a run's text cannot steer the terminal. Cells are cut at
/// 48 characters.
std::string text_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows,
                       const std::vector<Align>& align);

/// A chart of braille dots, 60 x 10 characters, with its extremes written at the axis. Empty for
/// fewer than two points.
std::string text_chart(const std::vector<std::pair<double, double>>& points,
                       const std::string& title);

/// The text with control characters replaced by '?'.
std::string printable(const std::string& text);

}  // namespace kente
