#include <ctemplate/template_modifiers.h>

#include <algorithm>
#include <cmath>

#include "csrc/report/number_text.h"
#include "csrc/report/summary.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr double kChartLeft = 58, kChartRight = 14, kChartTop = 14, kChartBottom = 42;
constexpr size_t kBuckets = 350;

struct Range {
  double low = 0, high = 1;
};

/// Maps data to pixels.
struct Frame {
  Range x, y;
  double width = 0, height = 0;
  double px(double value) const {
    return kChartLeft + (value - x.low) / (x.high - x.low) * (width - kChartLeft - kChartRight);
  }
  double py(double value) const {
    return height - kChartBottom -
           (value - y.low) / (y.high - y.low) * (height - kChartTop - kChartBottom);
  }
};

Range widened(Range range, double by) {
  const double span = range.high - range.low;
  const double least = std::max(std::abs(range.high), 1.0) * 1e-3;
  const double pad = span > 0 ? span * by : least;
  return {range.low - pad, range.high + pad};
}

Frame frame_of(const Chart& chart) {
  Frame frame{{1e300, -1e300}, {1e300, -1e300}, chart.width, chart.height};
  for (const ChartSeries& series : chart.series)
    for (const auto& [x, y] : series.points) {
      frame.x = {std::min(frame.x.low, x), std::max(frame.x.high, x)};
      frame.y = {std::min(frame.y.low, y), std::max(frame.y.high, y)};
    }
  if (frame.x.high <= frame.x.low) frame.x = {frame.x.low - 1, frame.x.low + 1};
  frame.y = widened(frame.y, 0.06);
  if (chart.floor == Chart::Floor::kZero) frame.y.low = 0;
  return frame;
}

std::string text_at(double x, double y, const std::string& anchor, const std::string& text) {
  return "<text x=\"" + px(x) + "\" y=\"" + px(y) + "\" text-anchor=\"" + anchor + "\">" +
         escaped(text) + "</text>";
}

std::string line(double x1, double y1, double x2, double y2) {
  return "<line x1=\"" + px(x1) + "\" y1=\"" + px(y1) + "\" x2=\"" + px(x2) + "\" y2=\"" + px(y2) +
         "\"/>";
}

/// One unit for all marks of an axis, by its largest.
std::string axis_text(double value, double largest) {
  if (largest >= 1e7) return short_text(value / 1e6) + (value == 0 ? "" : " M");
  if (largest >= 1e4) return short_text(value / 1e3) + (value == 0 ? "" : " k");
  return short_text(value);
}

std::string axes(const Chart& chart, const Frame& frame) {
  std::string grid = "<g class=\"grid\">", labels = "<g class=\"labels\">";
  const double bottom = frame.height - kChartBottom, right = frame.width - kChartRight;
  for (const double tick : axis_ticks(frame.y.low, frame.y.high, 7)) {
    grid += line(kChartLeft, frame.py(tick), right, frame.py(tick));
    labels += text_at(kChartLeft - 8, frame.py(tick) + 4, "end", axis_text(tick, frame.y.high));
  }
  for (const double tick : axis_ticks(frame.x.low, frame.x.high, frame.width > 500 ? 8 : 4)) {
    if (tick != std::floor(tick)) continue;
    grid += line(frame.px(tick), bottom, frame.px(tick), bottom + 4);
    labels += text_at(frame.px(tick), bottom + 18, "middle", axis_text(tick, frame.x.high));
  }
  labels += text_at((kChartLeft + right) / 2, frame.height - 6, "middle", chart.x_name);
  return grid + "</g><g class=\"axis\">" + line(kChartLeft, bottom, right, bottom) + "</g>" +
         labels + "</g>";
}

std::string polyline(const ChartSeries& series, const Frame& frame) {
  std::string points, values, dots;
  for (const auto& [x, y] : thin_out(series.points, kBuckets)) {
    points += px(frame.px(x)) + "," + px(frame.py(y)) + " ";
    values += fixed_text(x, 0) + ":" + short_text(y) + " ";
  }
  if (series.points.size() <= 40)
    for (const auto& [x, y] : series.points)
      dots += "<circle cx=\"" + px(frame.px(x)) + "\" cy=\"" + px(frame.py(y)) + "\" r=\"2.6\"/>";
  return "<g class=\"series " + escaped(series.css_class) + "\" data-name=\"" +
         escaped(series.name) + "\" data-points=\"" + values + "\"><polyline points=\"" + points +
         "\"/>" + dots + "</g>";
}

}  // namespace

std::string escaped(const std::string& text) { return ctemplate::html_escape(text); }

std::vector<double> axis_ticks(double low, double high, int count) {
  std::vector<double> ticks;
  if (!(high > low) || count < 1) return ticks;
  const double rough = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  for (double index = std::ceil(low / step); index * step <= high; ++index)
    ticks.push_back(index * step);
  return ticks;
}

std::string chart_svg(const Chart& chart) {
  const bool empty = std::all_of(chart.series.begin(), chart.series.end(),
                                 [](const ChartSeries& series) { return series.points.empty(); });
  if (empty) return "";
  const Frame frame = frame_of(chart);
  std::string svg = "<svg class=\"chart\" viewBox=\"0 0 " + px(chart.width) + " " +
                    px(chart.height) + "\" role=\"img\" aria-label=\"" +
                    escaped(chart.y_name + " by " + chart.x_name) + "\" data-x=\"" +
                    short_text(frame.x.low) + " " + fixed_text(frame.x.high, 0) + " " +
                    px(kChartLeft) + " " + px(chart.width - kChartRight) + "\">";
  svg += axes(chart, frame);
  for (const ChartSeries& series : chart.series)
    if (!series.points.empty()) svg += polyline(series, frame);
  svg += "<line class=\"cursor\" x1=\"0\" x2=\"0\" y1=\"" + px(kChartTop) + "\" y2=\"" +
         px(chart.height - kChartBottom) + "\"/>";
  return svg + "</svg>";
}

}  // namespace kente
