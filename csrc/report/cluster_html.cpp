#include <ctemplate/template.h>

#include <algorithm>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/report/cluster_report.h"
#include "csrc/report/cluster_summary.h"
#include "csrc/report/number_text.h"
#include "csrc/report/page_template.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

using Dictionary = ctemplate::TemplateDictionary;

constexpr size_t kSeries = 6, kRowsShown = 400, kMatrixRanks = 24;
constexpr double kWideChart = 1000, kNarrowChart = 340;

/// A line of a chart, before it has points.
struct Line {
  std::string name;
  std::vector<const DeviceProfile*> devices;  // the middle one of them is drawn
};

/// Every device where there are few, else every kind.
std::vector<Line> lines_of(const ClusterProfile& cluster, const std::string& prefix) {
  std::vector<Line> lines;
  if (cluster.devices.size() <= kSeries) {
    for (const DeviceProfile& device : cluster.devices)
      lines.push_back({prefix + device.id, {&device}});
    return lines;
  }
  for (const DeviceProfile& device : cluster.devices) {
    const auto known = std::find_if(lines.begin(), lines.end(), [&](const Line& line) {
      return line.devices.front()->kind == device.kind;
    });
    if (known != lines.end()) {
      known->devices.push_back(&device);
    } else {
      lines.push_back({prefix + device.kind, {&device}});
    }
  }
  return lines;
}

std::vector<std::pair<double, double>> points_of(const Line& line, LayerKind kind) {
  std::map<int64_t, std::vector<double>> by_grains;
  for (const DeviceProfile* device : line.devices)
    if (const LayerCurve* curve = first_curve(*device, kind))
      for (const LayerSeconds& at : curve->at)
        by_grains[at.grains].push_back(1e3 * total_seconds(at) / static_cast<double>(at.grains));
  std::vector<std::pair<double, double>> points;
  for (auto& [grains, values] : by_grains) {
    std::sort(values.begin(), values.end());
    points.emplace_back(static_cast<double>(grains), values[values.size() / 2]);
  }
  return points;
}

void add_charts(Dictionary& page, std::vector<Line> lines) {
  lines.resize(std::min(lines.size(), kSeries));
  Dictionary* section = page.AddSectionDictionary("LAYERS");
  for (size_t i = 0; i < lines.size(); ++i) {
    Dictionary* entry = section->AddSectionDictionary("LEGEND");
    entry->SetValue("NAME", lines[i].name);
    entry->SetValue("SHADE", std::to_string(i));
  }
  for (const auto& [kind, title] : {std::pair(LayerKind::kBlock, "A block"),
                                    std::pair(LayerKind::kHead, "The head, with the loss"),
                                    std::pair(LayerKind::kEmbedding, "The embedding")}) {
    Chart chart{.x_name = "grains in a micro-batch", .y_name = title, .series = {}};
    chart.floor = Chart::Floor::kZero;
    chart.height = 220;
    for (size_t i = 0; i < lines.size(); ++i)
      chart.series.push_back(
          {lines[i].name, "shade" + std::to_string(i), points_of(lines[i], kind)});
    chart.width = kWideChart;
    const std::string wide = chart_svg(chart);
    if (wide.empty()) continue;
    chart.width = kNarrowChart;
    Dictionary* entry = section->AddSectionDictionary("CHART");
    entry->SetValue("TITLE", title);
    entry->SetValue("WIDE", wide);
    entry->SetValue("NARROW", chart_svg(chart));
  }
}

void add_layer_rows(Dictionary& page, const ClusterProfile& cluster) {
  Dictionary* section = page.AddSectionDictionary("TIMES");
  constexpr std::array<const char*, 3> kNames = {"embedding", "block", "head"};
  size_t rows = 0;
  for (const DeviceProfile& device : cluster.devices)
    for (const LayerCurve& curve : device.curves)
      for (const LayerSeconds& at : curve.at) {
        if (rows++ == kRowsShown) return;
        Dictionary* entry = section->AddSectionDictionary("ROW");
        entry->SetValue("DEVICE", device.id);
        entry->SetValue("LAYER", kNames[static_cast<size_t>(curve.layer)]);
        entry->SetValue("DTYPE", std::string(name_of(curve.compute)));
        entry->SetValue("GRAINS", std::to_string(at.grains));
        entry->SetValue("FORWARD", time_text(at.forward));
        entry->SetValue("LOSS", curve.layer == LayerKind::kHead ? time_text(at.loss) : "");
        entry->SetValue("INPUTS", time_text(at.backward_input));
        entry->SetValue("WEIGHTS", time_text(at.backward_weight));
        entry->SetValue("SPREAD", fixed_text(100 * at.spread, 1) + " %");
      }
}

std::string percent_of(double value, double most) {
  return fixed_text(most > 0 ? 100 * value / most : 0, 1);
}

void add_devices(Dictionary& page, const ClusterProfile& cluster) {
  Dictionary* section = page.AddSectionDictionary("DEVICES");
  const auto gemm_of = [](const DeviceProfile& device) {
    double best = 0;
    for (const GemmCeiling& c : device.ceilings) best = std::max(best, c.flops_per_second);
    return best;
  };
  double memory = 0, gemm = 0, copy = 0;
  for (const DeviceProfile& device : cluster.devices) {
    memory = std::max(memory, static_cast<double>(device.memory_bytes));
    gemm = std::max(gemm, gemm_of(device));
    copy = std::max(copy, device.copy_bytes_per_second);
  }
  for (size_t i = 0; i < std::min(cluster.devices.size(), kRowsShown); ++i) {
    const DeviceProfile& device = cluster.devices[i];
    const auto bytes = static_cast<double>(device.memory_bytes);
    Dictionary* entry = section->AddSectionDictionary("ROW");
    entry->SetValue(
        "ID", device.count > 1 ? device.id + " × " + std::to_string(device.count) : device.id);
    entry->SetValue("KIND", device.kind);
    entry->SetValue("NODE", device.node);
    entry->SetValue("MEMORY", bytes_text(bytes));
    entry->SetValue("MEMORY_BAR", percent_of(bytes, memory));
    entry->SetValue("GEMM", count_text(gemm_of(device)) + "FLOP/s");
    entry->SetValue("GEMM_BAR", percent_of(gemm_of(device), gemm));
    entry->SetValue("COPY", count_text(device.copy_bytes_per_second) + "B/s");
    entry->SetValue("COPY_BAR", percent_of(device.copy_bytes_per_second, copy));
    entry->SetValue("STORAGE", count_text(device.storage_bytes_per_second) + "B/s");
    entry->SetValue("SYNC", time_text(device.storage_sync_seconds));
    entry->SetValue("POWER", device.busy_watts ? fixed_text(*device.busy_watts, 0) + " W" : "–");
  }
}

/// One cell of the link matrix: bandwidth while computing, latency below.
void add_cell(Dictionary& row, const LinkProfile* link, double fastest) {
  Dictionary* cell = row.AddSectionDictionary("CELL");
  if (!link) return cell->SetValue("HEAT", "0");
  const bool busy = link->busy_bytes_per_second > 0;
  const double rate = busy ? link->busy_bytes_per_second : link->bytes_per_second;
  cell->SetValue("HEAT", fixed_text(0.08 + 0.5 * rate / fastest, 2));
  cell->SetValue("RATE", count_text(rate) + "B/s");
  cell->SetValue("LATENCY", time_text(busy ? link->busy_latency_seconds : link->latency_seconds));
  cell->SetValue("IDLE", "idle: " + count_text(link->bytes_per_second) + "B/s, " +
                             time_text(link->latency_seconds) + "; all_reduce step " +
                             count_text(link->reduce_bytes_per_second) + "B/s");
}

void add_links(Dictionary& page, const ClusterProfile& cluster) {
  if (cluster.links.empty()) return;
  Dictionary* section = page.AddSectionDictionary("LINKS");
  double fastest = 1;
  for (const LinkProfile& link : cluster.links)
    fastest = std::max({fastest, link.busy_bytes_per_second,
                        link.busy_bytes_per_second > 0 ? 0 : link.bytes_per_second});
  const size_t shown = std::min(cluster.devices.size(), kMatrixRanks);
  if (shown < cluster.devices.size())
    section->AddSectionDictionary("CUT")->SetValue("SHOWN", std::to_string(shown));
  for (size_t b = 0; b < shown; ++b)
    section->AddSectionDictionary("HEAD")->SetValue("ID", cluster.devices[b].id);
  for (size_t a = 0; a < shown; ++a) {
    Dictionary* row = section->AddSectionDictionary("ROW");
    row->SetValue("ID", cluster.devices[a].id);
    for (size_t b = 0; b < shown; ++b)
      add_cell(*row, find_link(cluster, static_cast<int>(a), static_cast<int>(b), true), fastest);
  }
}

void add_findings(Dictionary& page, const std::vector<Finding>& findings) {
  Dictionary* section = page.AddSectionDictionary("FINDINGS");
  if (findings.empty()) section->ShowSection("NONE");
  for (const Finding& finding : findings) {
    Dictionary* entry = section->AddSectionDictionary("ROW");
    const bool note = finding.severity == Severity::kNote;
    entry->SetValue("SEVERITY", note ? "note" : "warning");
    entry->SetValue("CLASS", note ? "note" : "warn");
    entry->SetValue("WHAT", finding.what);
    entry->SetValue("TO_DO", finding.what_to_do);
  }
}

void add_tiles(Dictionary& page, const ClusterProfile& cluster) {
  for (const ClusterMetric& metric : cluster_metrics(cluster)) {
    const bool shown = metric.name == "ranks" || metric.name == "kinds of device" ||
                       metric.name == "memory, all ranks" || metric.name == "GEMM, all ranks" ||
                       metric.name == "block of one grain, fastest" ||
                       metric.name == "block of one grain, slowest";
    if (!shown || !metric.value) continue;
    Dictionary* tile = page.AddSectionDictionary("TILE");
    tile->SetValue("NAME", metric.name);
    tile->SetValue("VALUE", metric.text());
  }
}

std::string expand(Dictionary& page) {
  ctemplate::TemplateCache cache;
  KENTE_CHECK(cache.StringToTemplateCache("page", kClusterTemplate, ctemplate::DO_NOT_STRIP),
              "the cluster page's template");
  cache.Freeze();
  std::string html;
  KENTE_CHECK(cache.ExpandNoLoad("page", ctemplate::DO_NOT_STRIP, &page, nullptr, &html),
              "the cluster page's template");
  return html;
}

void add_metric(Dictionary& section, const ClusterMetric& a, const ClusterMetric& b, bool alike) {
  if (!a.value && !b.value) return;
  Dictionary* row = section.AddSectionDictionary("ROW");
  row->SetValue("NAME", a.name);
  row->SetValue("A", a.text());
  row->SetValue("B", b.text());
  const double most = std::max(a.value.value_or(0), b.value.value_or(0));
  row->SetValue("A_BAR", percent_of(a.value.value_or(0), most));
  row->SetValue("B_BAR", percent_of(b.value.value_or(0), most));
  const std::optional<double> better = times_better(a, b);
  if (!better || (a.of_layers && !alike)) return;
  row->SetValue("RATIO", fixed_text(*better, 2) + " ×");
  if (*better > 1.005) row->ShowSection("GOOD");
}

}  // namespace

std::string cluster_html(const ClusterProfile& cluster, const std::vector<Finding>& findings) {
  Dictionary page("cluster");
  page.SetValue("TITLE", cluster.name.empty() ? "A cluster" : cluster.name);
  page.SetValue("SUBTITLE", "Measured for " + layers_text(cluster.measured));
  add_tiles(page, cluster);
  add_findings(page, findings);
  add_devices(page, cluster);
  add_charts(page, lines_of(cluster, ""));
  add_layer_rows(page, cluster);
  add_links(page, cluster);
  return expand(page);
}

std::string compare_html(const NamedCluster& a, const NamedCluster& b) {
  Dictionary page("compare");
  page.SetValue("TITLE", a.name + " and " + b.name);
  const bool alike = a.cluster.measured == b.cluster.measured;
  page.SetValue("SUBTITLE", alike ? "Measured for " + layers_text(a.cluster.measured)
                                  : "Measured for other layers: layer times do not compare. " +
                                        layers_text(a.cluster.measured) + "; " +
                                        layers_text(b.cluster.measured));
  Dictionary* section = page.AddSectionDictionary("METRICS");
  section->SetValue("A_NAME", a.name);
  section->SetValue("B_NAME", b.name);
  const auto of_a = cluster_metrics(a.cluster), of_b = cluster_metrics(b.cluster);
  for (size_t i = 0; i < of_a.size(); ++i) add_metric(*section, of_a[i], of_b[i], alike);
  std::vector<Line> lines = lines_of(a.cluster, a.name + ": ");
  const std::vector<Line> more = lines_of(b.cluster, b.name + ": ");
  // Three of each where both have many.
  lines.resize(
      std::min(lines.size(), std::max(kSeries / 2, kSeries - std::min(kSeries, more.size()))));
  lines.insert(lines.end(), more.begin(), more.end());
  add_charts(page, std::move(lines));
  return expand(page);
}

}  // namespace kente
