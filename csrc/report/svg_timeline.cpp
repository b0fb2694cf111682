#include <algorithm>
#include <cmath>
#include <map>

#include "csrc/report/number_text.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr double kTimelineLeft = 64, kTimelineRight = 12, kTimelineTop = 6, kTimelineLane = 34,
                 kTimelineGap = 8, kTimelineBottom = 34;
constexpr size_t kSpansPerRank = 600;
constexpr size_t kRanks = 64;

/// The CSS class of a span: its kind, and for compute which pass it belongs to.
std::string class_of(const TimelineSpan& span) {
  if (span.kind == TimelineSpan::kWait) return "wait";
  if (span.kind == TimelineSpan::kComm) return "comm";
  if (span.label.starts_with("F")) return "fwd";
  if (span.label.starts_with("BI")) return "bwd";
  if (span.label.starts_with("BW")) return "wgt";
  return "other";
}

/// The spans worth drawing: the longest ones where there are too many, in order of time.
std::vector<const TimelineSpan*> lane_spans(std::vector<const TimelineSpan*> spans) {
  const auto longer = [](const TimelineSpan* a, const TimelineSpan* b) {
    return a->end - a->begin > b->end - b->begin;
  };
  if (spans.size() > kSpansPerRank) {
    std::nth_element(spans.begin(), spans.begin() + kSpansPerRank, spans.end(), longer);
    spans.resize(kSpansPerRank);
  }
  std::sort(spans.begin(), spans.end(),
            [](const TimelineSpan* a, const TimelineSpan* b) { return a->begin < b->begin; });
  return spans;
}

std::string span_svg(const TimelineSpan& span, double x, double width, double y) {
  const std::string label = escaped(span.label.substr(0, 40));
  std::string svg = "<g class=\"span " + class_of(span) + "\"><rect x=\"" + px(x) + "\" y=\"" +
                    px(y) + "\" width=\"" + px(std::max(width, 0.6)) + "\" height=\"" +
                    px(kTimelineLane) + "\" rx=\"2\"><title>" + label + " " +
                    duration_text(span.end - span.begin) + "</title></rect>";
  const bool fits = width > 7.5 * static_cast<double>(std::min<size_t>(span.label.size(), 40)) + 4;
  if (fits && span.kind != TimelineSpan::kWait)
    svg += "<text x=\"" + px(x + width / 2) + "\" y=\"" + px(y + kTimelineLane / 2 + 4) + "\">" +
           label + "</text>";
  return svg + "</g>";
}

}  // namespace

std::string timeline_svg(const std::vector<TimelineSpan>& timeline, double width) {
  std::map<int, std::vector<const TimelineSpan*>> lanes;
  double last = 0;
  for (const TimelineSpan& span : timeline) {
    if (!std::isfinite(span.begin) || !std::isfinite(span.end)) continue;
    if (lanes.size() == kRanks && !lanes.contains(span.rank)) continue;
    lanes[span.rank].push_back(&span);
    last = std::max(last, span.end);
  }
  if (lanes.empty() || last <= 0) return "";
  const double height = kTimelineTop +
                        static_cast<double>(lanes.size()) * (kTimelineLane + kTimelineGap) -
                        kTimelineGap + kTimelineBottom;
  const double scale = (width - kTimelineLeft - kTimelineRight) / last;
  std::string svg = "<svg class=\"timeline\" viewBox=\"0 0 " + px(width) + " " + px(height) +
                    "\" role=\"img\" aria-label=\"one step per rank\">";
  double y = kTimelineTop;
  for (auto& [rank, spans] : lanes) {
    svg += "<rect class=\"lane\" x=\"" + px(kTimelineLeft) + "\" y=\"" + px(y) + "\" width=\"" +
           px(last * scale) + "\" height=\"" + px(kTimelineLane) +
           "\" rx=\"3\"/><text class=\"name\" x=\"" + px(kTimelineLeft - 10) + "\" y=\"" +
           px(y + kTimelineLane / 2 + 4) + "\">rank " + std::to_string(rank) + "</text>";
    for (const TimelineSpan* span : lane_spans(std::move(spans))) {
      const double begin = std::max(span->begin, 0.0);
      svg += span_svg(*span, kTimelineLeft + begin * scale, (span->end - begin) * scale, y);
    }
    y += kTimelineLane + kTimelineGap;
  }
  svg += "<g class=\"labels\">";
  for (const double tick : axis_ticks(0, last, 6))
    svg += "<text text-anchor=\"middle\" x=\"" + px(kTimelineLeft + tick * scale) + "\" y=\"" +
           px(height - 12) + "\">" + (tick > 0 ? duration_text(tick) : "0") + "</text>";
  return svg + "</g></svg>";
}

}  // namespace kente
