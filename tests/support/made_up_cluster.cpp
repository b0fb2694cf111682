#include "tests/support/made_up_cluster.h"

#include <string>

namespace kente {
namespace {

LayerCurve curve_of(LayerKind layer, DType compute, double seconds, const MadeUpCluster& how) {
  LayerCurve curve{.layer = layer, .compute = compute, .at = {}};
  for (const int64_t grains : how.grains) {
    const double at =
        seconds * (how.fixed_fraction + (1 - how.fixed_fraction) * static_cast<double>(grains));
    curve.at.push_back({.grains = grains,
                        .forward = at,
                        .loss = layer == LayerKind::kHead ? at : 0,
                        .backward_input = at,
                        .backward_weight = at,
                        .spread = 0.01});
  }
  return curve;
}

}  // namespace

ClusterProfile made_up_cluster(const Recipe& recipe, const MadeUpCluster& how) {
  ClusterProfile cluster;
  cluster.name = "made up";
  cluster.measured = measured_layers(recipe);
  const DType compute = recipe.numerics.compute;
  for (size_t i = 0; i < how.speeds.size(); ++i) {
    DeviceProfile device;
    device.id = "d" + std::to_string(i);
    device.kind = "made up";
    device.node = "here";
    device.memory_bytes = how.memory_bytes;
    const double speed = how.speeds[i];
    device.curves = {curve_of(LayerKind::kEmbedding, compute, how.embedding_seconds / speed, how),
                     curve_of(LayerKind::kBlock, compute, how.block_seconds / speed, how),
                     curve_of(LayerKind::kHead, compute, how.head_seconds / speed, how)};
    device.optimizer_seconds_per_parameter = how.optimizer_seconds_per_parameter / speed;
    cluster.devices.push_back(device);
    for (size_t j = 0; j < i; ++j)
      cluster.links.push_back({.from = cluster.devices[j].id,
                               .to = device.id,
                               .same_node = false,
                               .latency_seconds = how.latency_seconds,
                               .bytes_per_second = how.bytes_per_second,
                               .busy_latency_seconds = 0,
                               .busy_bytes_per_second = 0,
                               .reduce_bytes_per_second = 0});
  }
  return cluster;
}

}  // namespace kente
