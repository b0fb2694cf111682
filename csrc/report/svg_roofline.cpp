#include <algorithm>
#include <cmath>

#include "csrc/report/number_text.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr double kRoofLeft = 64, kRoofRight = 190, kRoofTop = 14, kRoofBottom = 40,
                 kRoofHeight = 300;

/// Decades of an axis that runs along the powers of ten.
struct Decades {
  double low, high;  // exponents
  double at(double value, double from, double to) const {
    return from + (std::log10(value) - low) / (high - low) * (to - from);
  }
};

std::string line_svg(const char* css, double x1, double y1, double x2, double y2) {
  return std::string("<line class=\"") + css + "\" x1=\"" + px(x1) + "\" y1=\"" + px(y1) +
         "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) + "\"/>";
}

std::string text_svg(const char* anchor, double x, double y, const std::string& text) {
  return std::string("<text text-anchor=\"") + anchor + "\" x=\"" + px(x) + "\" y=\"" + px(y) +
         "\">" + escaped(text) + "</text>";
}

}  // namespace

std::string roofline_svg(const OpSummary& ops, const Roof& roof, double width) {
  const auto shown = [](const OpSummary::Row& row) {
    return row.op.flops > 0 && row.op.bytes > 0 && row.op.seconds > 0;
  };
  if (!(roof.flops_per_second > 0 && roof.bytes_per_second > 0) ||
      std::none_of(ops.rows.begin(), ops.rows.end(), shown))
    return "";
  const double ridge = roof.flops_per_second / roof.bytes_per_second;
  double least = ridge / 2, most = ridge * 2, slowest = roof.flops_per_second / 2;
  for (const OpSummary::Row& row : ops.rows) {
    if (!shown(row)) continue;
    least = std::min(least, row.op.flops / row.op.bytes);
    most = std::max(most, row.op.flops / row.op.bytes);
    slowest = std::min(slowest, row.op.flops / row.op.seconds);
  }
  const Decades x{std::floor(std::log10(least)), std::ceil(std::log10(most))};
  const Decades y{std::floor(std::log10(slowest)),
                  std::ceil(std::log10(roof.flops_per_second * 1.2))};
  const double right = width - kRoofRight, bottom = kRoofHeight - kRoofBottom;
  const auto x_of = [&](double value) { return x.at(value, kRoofLeft, right); };
  const auto y_of = [&](double value) { return y.at(value, bottom, kRoofTop); };
  std::string svg = "<svg class=\"roofline\" viewBox=\"0 0 " + px(width) + " " + px(kRoofHeight) +
                    "\" role=\"img\" aria-label=\"roofline\"><g class=\"grid\">";
  for (double decade = x.low; decade <= x.high; ++decade)
    svg += line_svg("", x_of(std::pow(10, decade)), kRoofTop, x_of(std::pow(10, decade)), bottom);
  for (double decade = y.low; decade <= y.high; ++decade)
    svg += line_svg("", kRoofLeft, y_of(std::pow(10, decade)), right, y_of(std::pow(10, decade)));
  svg += "</g><g class=\"labels\">";
  for (double decade = x.low; decade <= x.high; ++decade)
    svg += text_svg("middle", x_of(std::pow(10, decade)), bottom + 16,
                    count_text(std::pow(10, decade)));
  for (double decade = y.low; decade <= y.high; ++decade)
    svg += text_svg("end", kRoofLeft - 8, y_of(std::pow(10, decade)) + 4,
                    count_text(std::pow(10, decade)));
  svg += text_svg("middle", (kRoofLeft + right) / 2, kRoofHeight - 6, "FLOP a byte") + "</g>";
  const double from = std::max(std::pow(10, x.low), std::pow(10, y.low) / roof.bytes_per_second);
  svg += line_svg("roof", x_of(from), y_of(from * roof.bytes_per_second), x_of(ridge),
                  y_of(roof.flops_per_second)) +
         line_svg("roof", x_of(ridge), y_of(roof.flops_per_second), right,
                  y_of(roof.flops_per_second));
  double free_below = 0;  // where the next name may stand
  std::vector<const OpSummary::Row*> rows;
  for (const OpSummary::Row& row : ops.rows)
    if (shown(row)) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [](const OpSummary::Row* a, const OpSummary::Row* b) {
    return a->op.flops / a->op.seconds > b->op.flops / b->op.seconds;
  });
  for (const OpSummary::Row* row : rows) {
    const double at_x = x_of(row->op.flops / row->op.bytes);
    const double at_y = y_of(row->op.flops / row->op.seconds);
    const double radius = 3 + 12 * std::sqrt(row->op.seconds / std::max(ops.seconds, 1e-12));
    free_below = std::max(free_below + 14, at_y);
    svg += "<circle class=\"fwd\" cx=\"" + px(at_x) + "\" cy=\"" + px(at_y) + "\" r=\"" +
           px(radius) + "\"><title>" + escaped(row->op.name) + "</title></circle>" +
           line_svg("lead", at_x + radius, at_y, right + 4, free_below) +
           text_svg("start", right + 8, free_below + 4, row->op.name.substr(0, 40));
  }
  return svg + "</svg>";
}

}  // namespace kente
