#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"
#include "csrc/config/recipe.h"

namespace kente {

/// What layer times depend on: a profile measured for other layers is refused.
struct MeasuredLayers {
  ModelFamily family = ModelFamily::kGpt2;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0;
  int64_t sequence_length = 0, grain_samples = 0;
  bool stop_at_documents = false;
  Reduction reduction = Reduction::kFast;

  bool operator==(const MeasuredLayers&) const = default;
};

/// The layers that a recipe wants measured.
MeasuredLayers measured_layers(const Recipe& recipe);

enum class LayerKind { kEmbedding, kBlock, kHead };

/// The kind of layer number `layer` of a model with num_layers layers.
LayerKind layer_kind(int layer, int num_layers);

/// Seconds of one layer for one micro-batch of so many grains.
struct LayerSeconds {
  int64_t grains = 0;
  double forward = 0;
  double loss = 0;  // head only
  double backward_input = 0;
  double backward_weight = 0;  // with adding to the step's sums
  double spread = 0;           // interquartile range over median, of the sum of the four

  bool operator==(const LayerSeconds&) const = default;
};

/// One kind of layer in one dtype, grains ascending; at least one entry.
struct LayerCurve {
  LayerKind layer = LayerKind::kBlock;
  DType compute = DType::kF32;
  std::vector<LayerSeconds> at;

  bool operator==(const LayerCurve&) const = default;
};

/// GEMM in one dtype, one rank.
struct GemmCeiling {
  DType compute = DType::kF32;
  double flops_per_second = 0;

  bool operator==(const GemmCeiling&) const = default;
};

/// One rank's device, or several alike. Never data-sheet numbers.
struct DeviceProfile {
  std::string id;
  int64_t count = 1;
  std::string kind;          // for people
  std::string node;          // host name
  int64_t per_node = 0;      // devices of this entry on one node; 0: all on one
  int64_t memory_bytes = 0;  // really free for one rank, device or host
  std::vector<LayerCurve> curves;
  double optimizer_seconds_per_parameter = 0;  // zeroing, norm, AdamW, rounding
  std::vector<GemmCeiling> ceilings;
  double copy_bytes_per_second = 0;     // bytes read + bytes written; 0: not measured
  double storage_bytes_per_second = 0;  // 0: not measured
  double storage_sync_seconds = 0;
  std::optional<double> busy_watts, idle_watts;  // empty where they cannot be read
  std::optional<double> price_per_hour;          // any currency, one in a profile
  std::string machine_digest;

  /// The curve of a layer in a dtype, null when it was not measured.
  const LayerCurve* curve(LayerKind layer, DType compute) const;

  bool operator==(const DeviceProfile&) const = default;
};

/// n bytes take latency_seconds + n / bytes_per_second.
struct LinkProfile {
  std::string from, to;    // device ids, in either order; equal: among alike devices
  bool same_node = false;  // holds only for two devices on one node, and there before others
  double latency_seconds = 0;
  double bytes_per_second = 0;
  double busy_latency_seconds = 0;  // while both ends compute; 0: not measured
  double busy_bytes_per_second = 0;
  double reduce_bytes_per_second = 0;  // of a ring all_reduce's step; 0: as bytes_per_second

  bool operator==(const LinkProfile&) const = default;
};

/// What `kente bench` measured; immutable after validation. Rank numbers count through devices in
/// order: a device with count 3 is three ranks.
struct ClusterProfile {
  std::string name;
  MeasuredLayers measured;
  std::vector<DeviceProfile> devices;
  std::vector<LinkProfile> links;

  int64_t num_ranks() const;

  bool operator==(const ClusterProfile&) const = default;
};

/// Which device each rank is: indices into ClusterProfile::devices, and the rank's node.
class RankTable {
 public:
  explicit RankTable(const ClusterProfile& cluster);

  int num_ranks() const { return static_cast<int>(device_of_.size()); }
  int device_of(int rank) const { return device_of_.at(static_cast<size_t>(rank)); }
  /// Equal numbers: one host.
  int node_of(int rank) const { return node_of_.at(static_cast<size_t>(rank)); }

 private:
  std::vector<int> device_of_, node_of_;
};

/// The link between two devices; null when the profile has none.
const LinkProfile* find_link(const ClusterProfile& cluster, int device_a, int device_b,
                             bool same_node);

/// Parses and validates a profile. Throws UsageError "file:line:column: what; what to do".
ClusterProfile parse_cluster(const std::string& text, const std::string& file);
/// As parse_cluster, and the layers must be the recipe's, measured in its dtype.
ClusterProfile parse_cluster(const std::string& text, const std::string& file,
                             const Recipe& recipe);
ClusterProfile load_cluster(const std::string& path, const Recipe& recipe);
ClusterProfile load_cluster(const std::string& path);

/// Protobuf text: parse_cluster(to_text(c)) == c for a valid profile.
std::string to_text(const ClusterProfile& cluster);

}  // namespace kente
