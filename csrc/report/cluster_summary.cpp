#include "csrc/report/cluster_summary.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "csrc/config/parse.h"
#include "csrc/report/number_text.h"

namespace kente {
namespace {

using Unit = ClusterMetric::Unit;
using Better = ClusterMetric::Better;

/// One value a rank.
struct Values {
  std::vector<double> of_ranks;

  void add(double value, int64_t count) {
    if (value > 0) of_ranks.insert(of_ranks.end(), static_cast<size_t>(count), value);
  }
  std::optional<double> sum() const {
    if (of_ranks.empty()) return std::nullopt;
    double total = 0;
    for (const double value : of_ranks) total += value;
    return total;
  }
  std::optional<double> at(double share) const {
    if (of_ranks.empty()) return std::nullopt;
    std::vector<double> sorted = of_ranks;
    std::sort(sorted.begin(), sorted.end());
    const int64_t place = std::llround(share * static_cast<double>(sorted.size() - 1));
    return sorted[static_cast<size_t>(place)];
  }
};

double one_grain(const DeviceProfile& device, LayerKind kind) {
  const LayerCurve* curve = first_curve(device, kind);
  return curve ? total_seconds(curve->at.front()) : 0;
}

}  // namespace

std::string ClusterMetric::text() const {
  if (!value) return "–";
  switch (unit) {
    case Unit::kCount:
      return count_text(*value);
    case Unit::kBytes:
      return bytes_text(*value);
    case Unit::kBytesPerSecond:
      return count_text(*value) + "B/s";
    case Unit::kFlopsPerSecond:
      return count_text(*value) + "FLOP/s";
    case Unit::kSeconds:
      return *value < 1e-3 ? fixed_text(*value * 1e6, *value < 1e-5 ? 2 : 1) + " µs"
                           : fixed_text(*value * 1e3, *value < 0.1 ? 2 : 0) + " ms";
    case Unit::kWatts:
      return fixed_text(*value, 0) + " W";
  }
  return "–";
}

double total_seconds(const LayerSeconds& at) {
  return at.forward + at.loss + at.backward_input + at.backward_weight;
}

const LayerCurve* first_curve(const DeviceProfile& device, LayerKind kind) {
  for (const LayerCurve& curve : device.curves)
    if (curve.layer == kind && !curve.at.empty()) return &curve;
  return nullptr;
}

std::string time_text(double seconds) {
  return ClusterMetric{.name = "", .value = seconds, .unit = ClusterMetric::Unit::kSeconds}.text();
}

std::vector<ClusterMetric> cluster_metrics(const ClusterProfile& cluster) {
  std::set<std::string> nodes, kinds;
  Values memory, gemm, copy, block, head, storage, sync, watts, latency, bandwidth, busy, reduce;
  for (const DeviceProfile& device : cluster.devices) {
    nodes.insert(device.node);
    kinds.insert(device.kind);
    memory.add(static_cast<double>(device.memory_bytes), device.count);
    double fastest = 0;
    for (const GemmCeiling& ceiling : device.ceilings)
      fastest = std::max(fastest, ceiling.flops_per_second);
    gemm.add(fastest, device.count);
    copy.add(device.copy_bytes_per_second, device.count);
    block.add(one_grain(device, LayerKind::kBlock), device.count);
    head.add(one_grain(device, LayerKind::kHead), device.count);
    storage.add(device.storage_bytes_per_second, device.count);
    sync.add(device.storage_sync_seconds, device.count);
    watts.add(device.busy_watts.value_or(0), device.count);
  }
  for (const LinkProfile& link : cluster.links) {
    latency.add(link.latency_seconds, 1);
    bandwidth.add(link.bytes_per_second, 1);
    busy.add(link.busy_bytes_per_second, 1);
    reduce.add(link.reduce_bytes_per_second, 1);
  }
  return {
      {"ranks", static_cast<double>(cluster.num_ranks()), Unit::kCount, Better::kHigher},
      {"nodes", static_cast<double>(nodes.size()), Unit::kCount, Better::kNeither},
      {"kinds of device", static_cast<double>(kinds.size()), Unit::kCount, Better::kNeither},
      {"memory, all ranks", memory.sum(), Unit::kBytes, Better::kHigher},
      {"GEMM, all ranks", gemm.sum(), Unit::kFlopsPerSecond, Better::kHigher},
      {"copy, all ranks", copy.sum(), Unit::kBytesPerSecond, Better::kHigher},
      {"block of one grain, fastest", block.at(0), Unit::kSeconds, Better::kLower, true},
      {"block of one grain, middle", block.at(0.5), Unit::kSeconds, Better::kLower, true},
      {"block of one grain, slowest", block.at(1), Unit::kSeconds, Better::kLower, true},
      {"head of one grain, middle", head.at(0.5), Unit::kSeconds, Better::kLower, true},
      {"link latency, middle", latency.at(0.5), Unit::kSeconds, Better::kLower},
      {"link bandwidth, middle", bandwidth.at(0.5), Unit::kBytesPerSecond, Better::kHigher},
      {"link bandwidth, slowest", bandwidth.at(0), Unit::kBytesPerSecond, Better::kHigher},
      {"bandwidth while computing", busy.at(0.5), Unit::kBytesPerSecond, Better::kHigher},
      {"all_reduce, a ring step", reduce.at(0.5), Unit::kBytesPerSecond, Better::kHigher},
      {"storage written, a rank", storage.at(0.5), Unit::kBytesPerSecond, Better::kHigher},
      {"storage sync", sync.at(0.5), Unit::kSeconds, Better::kLower},
      {"power, all ranks busy", watts.sum(), Unit::kWatts, Better::kLower},
  };
}

std::optional<double> times_better(const ClusterMetric& a, const ClusterMetric& b) {
  if (!a.value || !b.value || a.better == Better::kNeither) return std::nullopt;
  return a.better == Better::kHigher ? *b.value / *a.value : *a.value / *b.value;
}

std::string layers_text(const MeasuredLayers& layers) {
  return std::string(model_type_of(layers.family)) + ", D " + std::to_string(layers.hidden_size) +
         ", F " + std::to_string(layers.intermediate_size) + ", " +
         std::to_string(layers.num_attention_heads) + " heads, V " +
         std::to_string(layers.vocab_size) + ", T " + std::to_string(layers.sequence_length) +
         ", grain " + std::to_string(layers.grain_samples) + ", " +
         (layers.reduction == Reduction::kExact ? "EXACT" : "FAST");
}

}  // namespace kente
