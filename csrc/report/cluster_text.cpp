#include <algorithm>
#include <nlohmann/json.hpp>

#include "csrc/report/cluster_report.h"
#include "csrc/report/cluster_summary.h"
#include "csrc/report/number_text.h"
#include "csrc/report/terminal.h"

namespace kente {
namespace {

using Row = std::vector<std::string>;
using OrderedJson = nlohmann::ordered_json;
constexpr auto kL = Align::kLeft, kR = Align::kRight;
constexpr size_t kLinksShown = 28;

std::string rate_text(double value, const char* unit) {
  return value > 0 ? count_text(value) + unit : "–";
}

std::string device_table(const ClusterProfile& cluster) {
  std::vector<Row> rows;
  for (const DeviceProfile& device : cluster.devices) {
    const double gemm = device.ceilings.empty() ? 0 : device.ceilings.back().flops_per_second;
    rows.push_back({device.id, device.count > 1 ? std::to_string(device.count) : "1", device.kind,
                    device.node, bytes_text(static_cast<double>(device.memory_bytes)),
                    rate_text(gemm, "FLOP/s"), rate_text(device.copy_bytes_per_second, "B/s"),
                    rate_text(device.storage_bytes_per_second, "B/s"),
                    time_text(device.storage_sync_seconds),
                    device.busy_watts ? fixed_text(*device.busy_watts, 0) + " W" : "–"});
  }
  return text_table(
      {"device", "n", "kind", "node", "memory", "GEMM", "copy", "storage", "sync", "power"}, rows,
      {kL, kR, kL, kL, kR, kR, kR, kR, kR, kR});
}

std::string layer_table(const ClusterProfile& cluster) {
  std::vector<Row> rows;
  for (const DeviceProfile& device : cluster.devices)
    for (const LayerCurve& block : device.curves) {
      if (block.layer != LayerKind::kBlock) continue;
      const LayerCurve* embedding = device.curve(LayerKind::kEmbedding, block.compute);
      const LayerCurve* head = device.curve(LayerKind::kHead, block.compute);
      for (size_t i = 0; i < block.at.size(); ++i) {
        const LayerSeconds& at = block.at[i];
        const auto other = [&](const LayerCurve* curve) {
          return curve && i < curve->at.size() ? time_text(total_seconds(curve->at[i])) : "–";
        };
        rows.push_back({device.id, std::string(name_of(block.compute)), std::to_string(at.grains),
                        other(embedding), time_text(at.forward), time_text(at.backward_input),
                        time_text(at.backward_weight), time_text(total_seconds(at)),
                        fixed_text(100 * at.spread, 1) + " %", other(head)});
      }
    }
  return text_table({"device", "dtype", "grains", "embedding", "block: forward", "inputs",
                     "weights", "all", "spread", "head"},
                    rows, {kL, kL, kR, kR, kR, kR, kR, kR, kR, kR});
}

std::string link_table(const ClusterProfile& cluster) {
  if (cluster.links.empty()) return "";
  std::vector<LinkProfile> links = cluster.links;
  std::string note;
  if (links.size() > kLinksShown) {
    std::stable_sort(links.begin(), links.end(), [](const LinkProfile& a, const LinkProfile& b) {
      return a.bytes_per_second < b.bytes_per_second;
    });
    note = "the " + std::to_string(kLinksShown) + " slowest of " + std::to_string(links.size()) +
           " links\n";
    links.resize(kLinksShown);
  }
  std::vector<Row> rows;
  rows.reserve(links.size());
  for (const LinkProfile& link : links)
    rows.push_back({link.from, link.to, time_text(link.latency_seconds),
                    rate_text(link.bytes_per_second, "B/s"), time_text(link.busy_latency_seconds),
                    rate_text(link.busy_bytes_per_second, "B/s"),
                    rate_text(link.reduce_bytes_per_second, "B/s")});
  return "\n" + note +
         text_table({"from", "to", "latency", "bandwidth", "computing: latency", "bandwidth",
                     "all_reduce step"},
                    rows, {kL, kL, kR, kR, kR, kR, kR});
}

std::string finding_lines(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings)
    text += std::string(finding.severity == Severity::kNote ? "note: " : "warning: ") +
            printable(finding.what) + ": " + printable(finding.what_to_do) + "\n";
  return text.empty() ? "" : "\n" + text;
}

OrderedJson optional_number(const std::optional<double>& value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

}  // namespace

std::string cluster_text(const ClusterProfile& cluster, const std::vector<Finding>& findings) {
  return printable(cluster.name) + "\n" + layers_text(cluster.measured) + "\n\n" +
         device_table(cluster) + "\n" + layer_table(cluster) + link_table(cluster) +
         finding_lines(findings);
}

std::string cluster_json(const ClusterProfile& cluster, const std::vector<Finding>& findings) {
  OrderedJson json;
  json["name"] = cluster.name;
  json["layers"] = layers_text(cluster.measured);
  for (const ClusterMetric& metric : cluster_metrics(cluster))
    json["metrics"][metric.name] = optional_number(metric.value);
  json["devices"] = OrderedJson::array();
  for (const DeviceProfile& device : cluster.devices) {
    const LayerCurve* block = first_curve(device, LayerKind::kBlock);
    const LayerCurve* head = first_curve(device, LayerKind::kHead);
    json["devices"].push_back(
        {{"id", device.id},
         {"kind", device.kind},
         {"node", device.node},
         {"memory_bytes", device.memory_bytes},
         {"block_seconds",
          block ? OrderedJson(total_seconds(block->at.front())) : OrderedJson(nullptr)},
         {"head_seconds",
          head ? OrderedJson(total_seconds(head->at.front())) : OrderedJson(nullptr)},
         {"busy_watts", optional_number(device.busy_watts)}});
  }
  json["findings"] = OrderedJson::array();
  for (const Finding& finding : findings)
    json["findings"].push_back(
        {{"severity", finding.severity == Severity::kNote ? "note" : "warning"},
         {"what", finding.what},
         {"what_to_do", finding.what_to_do}});
  return json.dump(1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string compare_text(const NamedCluster& a, const NamedCluster& b) {
  const auto of_a = cluster_metrics(a.cluster), of_b = cluster_metrics(b.cluster);
  const bool alike = a.cluster.measured == b.cluster.measured;
  std::vector<Row> rows;
  for (size_t i = 0; i < of_a.size(); ++i) {
    if (!of_a[i].value && !of_b[i].value) continue;
    const std::optional<double> better = times_better(of_a[i], of_b[i]);
    const bool shown = better && (alike || !of_a[i].of_layers);
    const std::string ratio = shown ? fixed_text(*better, 2) + " x" : "";
    rows.push_back({of_a[i].name, of_a[i].text(), of_b[i].text(), ratio});
  }
  std::string note;
  if (!alike)
    note = "measured for other layers, so layer times do not compare:\n  " +
           layers_text(a.cluster.measured) + "\n  " + layers_text(b.cluster.measured) + "\n\n";
  return note + text_table({"", a.name, b.name, "the second is better"}, rows, {kL, kR, kR, kR});
}

}  // namespace kente
