#include <algorithm>

#include "csrc/base/file_system.h"
#include "csrc/config/cluster.h"
#include "csrc/config/cluster.pb.h"
#include "csrc/config/cluster_checks.h"
#include "csrc/config/parse.h"
#include "csrc/config/proto_values.h"
#include "csrc/config/text_document.h"

namespace kente {
namespace {

constexpr int kClusterVersion = 1;

/// Every default of a profile, in one place.
void fill_defaults(proto::Cluster& cluster) {
  for (proto::Device& device : *cluster.mutable_device()) {
    if (!device.has_count()) device.set_count(1);
    if (!device.has_per_node()) device.set_per_node(0);
    for (proto::LayerTimes& times : *device.mutable_times())
      for (proto::Times& at : *times.mutable_at()) {
        if (!at.has_loss()) at.set_loss(0);
        if (!at.has_spread()) at.set_spread(0);
      }
  }
}

MeasuredLayers measured_value(const proto::MeasuredLayers& in) {
  return {
      .family = family_of(in.model_type()),
      .vocab_size = in.vocab_size(),
      .hidden_size = in.hidden_size(),
      .intermediate_size = in.intermediate_size(),
      .num_attention_heads = in.num_attention_heads(),
      .num_key_value_heads = in.num_key_value_heads(),
      .sequence_length = in.sequence_length(),
      .grain_samples = in.grain_samples(),
      .stop_at_documents = in.stop_at_documents(),
      .reduction = in.reduction() == proto::Numerics::EXACT ? Reduction::kExact : Reduction::kFast};
}

LayerCurve curve_value(const proto::LayerTimes& times) {
  LayerCurve curve;
  curve.layer = static_cast<LayerKind>(times.layer() - proto::LayerTimes::EMBEDDING);
  curve.compute = dtype_of(times.compute());
  for (const proto::Times& at : times.at())
    curve.at.push_back({.grains = at.grains(),
                        .forward = at.forward(),
                        .loss = at.loss(),
                        .backward_input = at.backward_input(),
                        .backward_weight = at.backward_weight(),
                        .spread = at.spread()});
  return curve;
}

DeviceProfile device_value(const proto::Device& in) {
  DeviceProfile out;
  out.id = in.id();
  out.count = in.count();
  out.kind = in.kind();
  out.node = in.node();
  out.per_node = in.per_node();
  out.memory_bytes = in.memory_bytes();
  for (const proto::LayerTimes& times : in.times()) out.curves.push_back(curve_value(times));
  out.optimizer_seconds_per_parameter = in.optimizer_seconds_per_parameter();
  for (const proto::Ceiling& c : in.ceiling())
    out.ceilings.push_back(
        {.compute = dtype_of(c.compute()), .flops_per_second = c.gemm_flops_per_second()});
  out.copy_bytes_per_second = in.copy_bytes_per_second();
  out.storage_bytes_per_second = in.storage_bytes_per_second();
  out.storage_sync_seconds = in.storage_sync_seconds();
  if (in.has_busy_watts()) out.busy_watts = in.busy_watts();
  if (in.has_idle_watts()) out.idle_watts = in.idle_watts();
  if (in.has_price_per_hour()) out.price_per_hour = in.price_per_hour();
  out.machine_digest = in.machine_digest();
  return out;
}

LinkProfile link_value(const proto::Link& in) {
  return {.from = in.from(),
          .to = in.to(),
          .same_node = in.same_node(),
          .latency_seconds = in.latency_seconds(),
          .bytes_per_second = in.bytes_per_second(),
          .busy_latency_seconds = in.busy_latency_seconds(),
          .busy_bytes_per_second = in.busy_bytes_per_second(),
          .reduce_bytes_per_second = in.reduce_bytes_per_second()};
}

void put_measured(const MeasuredLayers& in, proto::MeasuredLayers& out) {
  out.set_model_type(type_of(in.family));
  out.set_vocab_size(in.vocab_size);
  out.set_hidden_size(in.hidden_size);
  out.set_intermediate_size(in.intermediate_size);
  out.set_num_attention_heads(in.num_attention_heads);
  out.set_num_key_value_heads(in.num_key_value_heads);
  out.set_sequence_length(in.sequence_length);
  out.set_grain_samples(in.grain_samples);
  out.set_stop_at_documents(in.stop_at_documents);
  out.set_reduction(in.reduction == Reduction::kExact ? proto::Numerics::EXACT
                                                      : proto::Numerics::FAST);
}

void put_device(const DeviceProfile& in, proto::Device& out) {
  out.set_id(in.id);
  out.set_count(in.count);
  out.set_kind(in.kind);
  out.set_node(in.node);
  out.set_per_node(in.per_node);
  out.set_memory_bytes(in.memory_bytes);
  for (const LayerCurve& curve : in.curves) {
    proto::LayerTimes& times = *out.add_times();
    times.set_layer(static_cast<proto::LayerTimes::Layer>(static_cast<int>(curve.layer) +
                                                          proto::LayerTimes::EMBEDDING));
    times.set_compute(precision_of(curve.compute));
    for (const LayerSeconds& seconds : curve.at) {
      proto::Times& at = *times.add_at();
      at.set_grains(seconds.grains);
      at.set_forward(seconds.forward);
      if (curve.layer == LayerKind::kHead) at.set_loss(seconds.loss);
      at.set_backward_input(seconds.backward_input);
      at.set_backward_weight(seconds.backward_weight);
      at.set_spread(seconds.spread);
    }
  }
  out.set_optimizer_seconds_per_parameter(in.optimizer_seconds_per_parameter);
  for (const GemmCeiling& ceiling : in.ceilings) {
    proto::Ceiling& added = *out.add_ceiling();
    added.set_compute(precision_of(ceiling.compute));
    added.set_gemm_flops_per_second(ceiling.flops_per_second);
  }
  out.set_copy_bytes_per_second(in.copy_bytes_per_second);
  out.set_storage_bytes_per_second(in.storage_bytes_per_second);
  out.set_storage_sync_seconds(in.storage_sync_seconds);
  if (in.busy_watts) out.set_busy_watts(*in.busy_watts);
  if (in.idle_watts) out.set_idle_watts(*in.idle_watts);
  if (in.price_per_hour) out.set_price_per_hour(*in.price_per_hour);
  out.set_machine_digest(in.machine_digest);
}

void put_link(const LinkProfile& in, proto::Link& out) {
  out.set_from(in.from);
  out.set_to(in.to);
  out.set_same_node(in.same_node);
  out.set_latency_seconds(in.latency_seconds);
  out.set_bytes_per_second(in.bytes_per_second);
  out.set_busy_latency_seconds(in.busy_latency_seconds);
  out.set_busy_bytes_per_second(in.busy_bytes_per_second);
  out.set_reduce_bytes_per_second(in.reduce_bytes_per_second);
}

ClusterProfile cluster_value(const proto::Cluster& in) {
  ClusterProfile out;
  out.name = in.name();
  out.measured = measured_value(in.measured());
  for (const proto::Device& device : in.device()) out.devices.push_back(device_value(device));
  for (const proto::Link& link : in.link()) out.links.push_back(link_value(link));
  return out;
}

ClusterProfile parse(const std::string& text_of_cluster, const std::string& file,
                     const Recipe* recipe) {
  proto::Cluster cluster;
  const TextDocument document(text_of_cluster, file, {}, kClusterVersion, cluster);
  fill_defaults(cluster);
  validate(cluster, document);
  ClusterProfile out = cluster_value(cluster);
  if (!recipe) return out;
  check_measured(out.measured, *recipe, document);
  const std::vector<DType> allowed = recipe->numerics.allowed();
  const auto computes_in = [&](const DeviceProfile& device) {
    return std::any_of(allowed.begin(), allowed.end(),
                       [&](DType dtype) { return device.curve(LayerKind::kBlock, dtype); });
  };
  std::string names;
  for (const DType dtype : allowed)
    names += (names.empty() ? "" : " or ") + std::string(name_of(dtype));
  for (size_t d = 0; d < out.devices.size(); ++d)
    if (!computes_in(out.devices[d]))
      document.fail(element("device", static_cast<int64_t>(d)),
                    element("device", static_cast<int64_t>(d)) + " has no times in " + names +
                        ", in which the recipe computes; run kente bench with this recipe");
  return out;
}

}  // namespace

ClusterProfile parse_cluster(const std::string& text_of_cluster, const std::string& file) {
  return parse(text_of_cluster, file, nullptr);
}

ClusterProfile parse_cluster(const std::string& text_of_cluster, const std::string& file,
                             const Recipe& recipe) {
  return parse(text_of_cluster, file, &recipe);
}

ClusterProfile load_cluster(const std::string& path) {
  return parse_cluster(read_text_file(path, kMaxConfigBytes), path);
}

ClusterProfile load_cluster(const std::string& path, const Recipe& recipe) {
  return parse_cluster(read_text_file(path, kMaxConfigBytes), path, recipe);
}

std::string to_text(const ClusterProfile& cluster) {
  proto::Cluster out;
  out.set_version(kClusterVersion);
  out.set_name(cluster.name);
  put_measured(cluster.measured, *out.mutable_measured());
  for (const DeviceProfile& device : cluster.devices) put_device(device, *out.add_device());
  for (const LinkProfile& link : cluster.links) put_link(link, *out.add_link());
  return print(out);
}

}  // namespace kente
