#include "csrc/config/cluster.h"

#include <algorithm>

namespace kente {

MeasuredLayers measured_layers(const Recipe& recipe) {
  return {.family = recipe.model.family,
          .vocab_size = recipe.model.vocab_size,
          .hidden_size = recipe.model.hidden_size,
          .intermediate_size = recipe.model.intermediate_size,
          .num_attention_heads = recipe.model.num_attention_heads,
          .num_key_value_heads = recipe.model.num_key_value_heads,
          .sequence_length = recipe.sequence_length,
          .grain_samples = recipe.grain_samples,
          .stop_at_documents = recipe.data.stop_at_documents,
          .reduction = recipe.numerics.reduction};
}

LayerKind layer_kind(int layer, int num_layers) {
  if (layer == 0) return LayerKind::kEmbedding;
  return layer == num_layers - 1 ? LayerKind::kHead : LayerKind::kBlock;
}

const LayerCurve* DeviceProfile::curve(LayerKind layer, DType compute) const {
  const auto found = std::find_if(curves.begin(), curves.end(), [&](const LayerCurve& curve) {
    return curve.layer == layer && curve.compute == compute;
  });
  return found == curves.end() ? nullptr : &*found;
}

int64_t ClusterProfile::num_ranks() const {
  int64_t ranks = 0;
  for (const DeviceProfile& device : devices) ranks += device.count;
  return ranks;
}

RankTable::RankTable(const ClusterProfile& cluster) {
  std::vector<std::string> names;  // of nodes that entries share
  int nodes = 0;
  std::vector<int> number_of_name;
  for (size_t d = 0; d < cluster.devices.size(); ++d) {
    const DeviceProfile& device = cluster.devices[d];
    int node = nodes;
    if (device.per_node == 0) {
      const auto known = std::find(names.begin(), names.end(), device.node);
      if (known == names.end()) {
        names.push_back(device.node);
        number_of_name.push_back(nodes++);
        node = number_of_name.back();
      } else {
        node = number_of_name[static_cast<size_t>(known - names.begin())];
      }
    }
    for (int64_t i = 0; i < device.count; ++i) {
      device_of_.push_back(static_cast<int>(d));
      node_of_.push_back(device.per_node == 0 ? node
                                              : node + static_cast<int>(i / device.per_node));
    }
    if (device.per_node > 0) nodes = node_of_.back() + 1;
  }
}

const LinkProfile* find_link(const ClusterProfile& cluster, int device_a, int device_b,
                             bool same_node) {
  const std::string& a = cluster.devices.at(static_cast<size_t>(device_a)).id;
  const std::string& b = cluster.devices.at(static_cast<size_t>(device_b)).id;
  const LinkProfile* found = nullptr;
  for (const LinkProfile& link : cluster.links) {
    const bool joins = (link.from == a && link.to == b) || (link.from == b && link.to == a);
    if (!joins || (link.same_node && !same_node)) continue;
    if (!found || link.same_node) found = &link;
  }
  return found;
}

}  // namespace kente
