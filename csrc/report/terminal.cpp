#include "csrc/report/terminal.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "csrc/report/number_text.h"

namespace kente {
namespace {

constexpr size_t kCellCap = 48;
constexpr int kColumns = 60, kLines = 10;

bool continues(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return !continues(byte); }));
}

std::string cell_text(const std::string& text) {
  std::string cell = printable(text);
  size_t seen = 0;
  for (size_t i = 0; i < cell.size(); ++i) {
    if (continues(cell[i])) continue;
    if (++seen > kCellCap) return cell.substr(0, i) + "…";
  }
  return cell;
}

void append_row(std::string& out, const std::vector<std::string>& row,
                const std::vector<size_t>& widths, const std::vector<Align>& align) {
  std::string line;
  for (size_t column = 0; column < row.size(); ++column) {
    const std::string cell = cell_text(row[column]);
    const std::string space(widths[column] - characters(cell), ' ');
    line += align[column] == Align::kRight ? space + cell : cell + space;
    line += "  ";
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

/// The braille character of eight dots, three bytes of UTF-8 from U+2800 on.
std::string braille(unsigned dots) {
  const unsigned code = 0x2800 + dots;
  return {static_cast<char>(0xe0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3f)),
          static_cast<char>(0x80 | (code & 0x3f))};
}

}  // namespace

std::string printable(const std::string& text) {
  std::string clean = text;
  for (size_t i = 0; i < clean.size(); ++i) {
    const auto byte = static_cast<unsigned char>(clean[i]);
    if (byte < 0x20 || byte == 0x7f) clean[i] = '?';
    // U+0080 .. U+009F are control characters too, written as C2 80 .. C2 9F.
    if (byte == 0xc2 && i + 1 < clean.size() && static_cast<unsigned char>(clean[i + 1]) < 0xa0)
      clean.replace(i, 2, "??");
  }
  return clean;
}

std::string text_table(const std::vector<std::string>& header,
                       const std::vector<std::vector<std::string>>& rows,
                       const std::vector<Align>& align) {
  std::vector<size_t> widths(align.size(), 0);
  const auto widen = [&](const std::vector<std::string>& row) {
    for (size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], characters(cell_text(row[column])));
  };
  widen(header);
  for (const auto& row : rows) widen(row);
  std::string table;
  if (!header.empty()) append_row(table, header, widths, align);
  for (const auto& row : rows) append_row(table, row, widths, align);
  return table;
}

std::string text_chart(const std::vector<std::pair<double, double>>& points,
                       const std::string& title) {
  if (points.size() < 2) return "";
  const auto [lowest, highest] =
      std::minmax_element(points.begin(), points.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  const double low = lowest->second, high = highest->second;
  const double first = points.front().first, last = points.back().first;
  std::array<std::array<unsigned, kColumns>, kLines> dots{};
  constexpr std::array<std::array<unsigned, 2>, 4> kDot = {
      {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}};
  for (const auto& [x, y] : points) {
    const int across =
        static_cast<int>((x - first) / std::max(last - first, 1e-9) * (kColumns * 2 - 1));
    const double up = high > low ? (y - low) / (high - low) : 0.5;
    const int down = static_cast<int>(std::lround((1 - up) * (kLines * 4 - 1)));
    dots[static_cast<size_t>(down / 4)][static_cast<size_t>(across / 2)] |=
        kDot[static_cast<size_t>(down % 4)][static_cast<size_t>(across % 2)];
  }
  std::string chart = title + "\n";
  for (size_t line = 0; line < kLines; ++line) {
    const std::string label = line == 0            ? fixed_text(high, 3)
                              : line + 1 == kLines ? fixed_text(low, 3)
                                                   : "";
    chart += std::string(10 - std::min<size_t>(label.size(), 10), ' ') + label + " │";
    for (const unsigned cell : dots[line]) chart += braille(cell);
    chart += "\n";
  }
  const std::string begin = fixed_text(first, 0), end = fixed_text(last, 0);
  const size_t used = begin.size() + end.size();
  return chart + std::string(12, ' ') + begin +
         std::string(used < kColumns ? kColumns - used : 1, ' ') + end + "\n";
}

}  // namespace kente
