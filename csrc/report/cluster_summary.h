#pragma once

#include <optional>
#include <string>
#include <vector>

#include "csrc/config/cluster.h"

namespace kente {

/// One number about a whole cluster.
struct ClusterMetric {
  enum class Unit { kCount, kBytes, kBytesPerSecond, kFlopsPerSecond, kSeconds, kWatts };
  enum class Better { kNeither, kHigher, kLower };
  std::string name;
  std::optional<double> value;  // empty: not measured
  Unit unit = Unit::kCount;
  Better better = Better::kHigher;
  bool of_layers = false;  // compares only between profiles of the same layers

  std::string text() const;  // "–" when not measured
};

/// As a metric of seconds says it.
std::string time_text(double seconds);

/// The same metrics in the same order for every cluster.
std::vector<ClusterMetric> cluster_metrics(const ClusterProfile& cluster);

/// How many times better b is than a, both the same metric; empty where that says nothing.
std::optional<double> times_better(const ClusterMetric& a, const ClusterMetric& b);

/// "gpt2, D 256, F 1024, 8 heads, V 8192, T 256, grain 1, FAST"
std::string layers_text(const MeasuredLayers& layers);

/// Seconds of a layer's four passes together.
double total_seconds(const LayerSeconds& at);

/// The kind's curve in the dtype the device was measured in first; null where there is none.
const LayerCurve* first_curve(const DeviceProfile& device, LayerKind kind);

}  // namespace kente
