#pragma once

#include <string>
#include <utility>
#include <vector>

#include "csrc/report/environment.h"
#include "csrc/report/op_profile.h"
#include "csrc/report/run_record.h"

namespace kente {

/// Text for HTML and SVG content and quoted attributes.
std::string escaped(const std::string& text);

/// One line of a chart. css_class colours it.
struct ChartSeries {
  std::string name, css_class;
  std::vector<std::pair<double, double>> points;  // x ascending, finite
};

struct Chart {
  std::string x_name, y_name;
  std::vector<ChartSeries> series;
  double width = 720,
         height = 300;  // pixels: text keeps its size, so a phone gets a picture of its own
  enum class Floor { kData, kZero } floor = Floor::kData;
};

/// An <svg> with axes, grid and one polyline per series (a dot where it has a single point). The
/// page's script reads data-points for its tooltip. Empty when no series has a point.
std::string chart_svg(const Chart& chart);

/// Where an axis from low to high is marked: about count round numbers inside it, ascending.
std::vector<double> axis_ticks(double low, double high, int count);

/// One lane per rank; spans coloured by kind, forwards and both backwards told apart. Empty without
/// spans.
std::string timeline_svg(const std::vector<TimelineSpan>& timeline, double width);

/// Products by FLOP a byte and FLOP/s below the machine's roof, a mean over ranks, both axes along
/// powers of ten; a circle is as large as its part of the step. Empty without products or roof.
/// Source: Williams et al. 2009, doi:10.1145/1498765.1498785.
std::string roofline_svg(const OpSummary& ops, const Roof& roof, double width);

/// One row per replica, one box per stage, as wide as its layers. Empty without a mesh.
std::string plan_svg(const std::vector<Environment::Replica>& mesh, double width);

}  // namespace kente
