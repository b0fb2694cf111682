#include <algorithm>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "csrc/config/cluster.pb.h"
#include "csrc/config/cluster_checks.h"
#include "csrc/config/parse.h"

namespace kente {
namespace {

constexpr int64_t kMostClusterRanks = 1 << 20;
constexpr int64_t kMostMemory = std::numeric_limits<int64_t>::max();
using Real = TextDocument::Real;

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

class ClusterValidator {
 public:
  ClusterValidator(const proto::Cluster& cluster, const TextDocument& document)
      : cluster_(cluster), document_(document) {}

  void check() {
    document_.require(cluster_, "", {"version", "measured"});
    document_.require(cluster_.measured(), "measured.",
                      {"model_type", "vocab_size", "hidden_size", "intermediate_size",
                       "num_attention_heads", "num_key_value_heads", "sequence_length",
                       "grain_samples", "stop_at_documents", "reduction"});
    if (cluster_.device_size() == 0)
      document_.fail("device", "the profile has no device; write one with kente bench");
    for (int d = 0; d < cluster_.device_size(); ++d) check_device(d);
    for (int i = 0; i < cluster_.link_size(); ++i) check_link(i);
    check_all_pairs_linked();
  }

 private:
  void check_device(int d) {
    const proto::Device& device = cluster_.device(d);
    const std::string path = element("device", d);
    document_.require(device, path + ".",
                      {"id", "memory_bytes", "optimizer_seconds_per_parameter"});
    const auto [other, added] = index_of_id_.emplace(device.id(), d);
    if (!added)
      document_.fail(path + ".id", path + ".id " + quoted(device.id()) + " is device[" +
                                       text(other->second) + "]'s too; give each its own");
    document_.check_integer(path + ".count", device.count(), 1, kMostClusterRanks);
    ranks_ += device.count();
    if (ranks_ > kMostClusterRanks)
      document_.fail(path + ".count",
                     "the devices are more than " + text(kMostClusterRanks) + " ranks");
    document_.check_integer(path + ".per_node", device.per_node(), 0, device.count());
    document_.check_integer(path + ".memory_bytes", device.memory_bytes(), 1, kMostMemory);
    document_.check_real(path + ".optimizer_seconds_per_parameter",
                         device.optimizer_seconds_per_parameter(), Real::kPositive);
    document_.check_real(path + ".copy_bytes_per_second", device.copy_bytes_per_second(),
                         Real::kNotNegative);
    document_.check_real(path + ".storage_bytes_per_second", device.storage_bytes_per_second(),
                         Real::kNotNegative);
    document_.check_real(path + ".storage_sync_seconds", device.storage_sync_seconds(),
                         Real::kNotNegative);
    document_.check_real(path + ".busy_watts", device.busy_watts(), Real::kNotNegative);
    document_.check_real(path + ".idle_watts", device.idle_watts(), Real::kNotNegative);
    document_.check_real(path + ".price_per_hour", device.price_per_hour(), Real::kNotNegative);
    for (int c = 0; c < device.ceiling_size(); ++c) {
      const std::string at = element(path + ".ceiling", c);
      document_.require(device.ceiling(c), at + ".", {"compute", "gemm_flops_per_second"});
      document_.check_real(at + ".gemm_flops_per_second", device.ceiling(c).gemm_flops_per_second(),
                           Real::kPositive);
    }
    check_times(device, path);
  }

  void check_times(const proto::Device& device, const std::string& path) const {
    std::map<std::pair<int, int>, int> seen;
    for (int t = 0; t < device.times_size(); ++t) {
      const proto::LayerTimes& times = device.times(t);
      const std::string at = element(path + ".times", t);
      document_.require(times, at + ".", {"layer", "compute"});
      if (!seen.emplace(std::pair<int, int>(times.layer(), times.compute()), t).second)
        document_.fail(at, at + ": " + proto::LayerTimes::Layer_Name(times.layer()) + " in " +
                               Precision_Name(times.compute()) + " is given twice; keep one");
      if (times.at_size() == 0) document_.fail(at, at + " has no times; add at { grains: 1 ... }");
      for (int i = 0; i < times.at_size(); ++i) check_point(times, i, element(at + ".at", i));
    }
    for (const auto& [key, index] : seen)
      for (const int layer :
           {proto::LayerTimes::EMBEDDING, proto::LayerTimes::BLOCK, proto::LayerTimes::HEAD})
        if (!seen.count({layer, key.second}))
          document_.fail(
              path,
              path + ": no times of the " +
                  proto::LayerTimes::Layer_Name(static_cast<proto::LayerTimes::Layer>(layer)) +
                  " in " + Precision_Name(static_cast<proto::Precision>(key.second)) +
                  "; measure it with kente bench");
    if (seen.empty()) document_.fail(path, path + " has no times; measure it with kente bench");
  }

  void check_point(const proto::LayerTimes& times, int i, const std::string& at) const {
    const proto::Times& point = times.at(i);
    document_.require(point, at + ".", {"grains", "forward", "backward_input", "backward_weight"});
    document_.check_integer(at + ".grains", point.grains(),
                            i == 0 ? 1 : times.at(i - 1).grains() + 1, kMostClusterRanks);
    // The embedding has no gradient of its input, only what it keeps: that may round to nothing.
    const bool embedding = times.layer() == proto::LayerTimes::EMBEDDING;
    document_.check_real(at + ".forward", point.forward(), Real::kPositive);
    document_.check_real(at + ".backward_input", point.backward_input(),
                         embedding ? Real::kNotNegative : Real::kPositive);
    document_.check_real(at + ".backward_weight", point.backward_weight(), Real::kPositive);
    document_.check_real(at + ".loss", point.loss(), Real::kNotNegative);
    document_.check_real(at + ".spread", point.spread(), Real::kNotNegative);
  }

  void check_link(int i) {
    const proto::Link& link = cluster_.link(i);
    const std::string path = element("link", i);
    document_.require(link, path + ".", {"from", "to", "latency_seconds", "bytes_per_second"});
    for (const auto& [field, id] :
         {std::pair(std::string(".from"), link.from()), std::pair(std::string(".to"), link.to())})
      if (!index_of_id_.count(id))
        document_.fail(path + field, path + field + ": there is no device " + quoted(id) +
                                         "; write a device's id");
    document_.check_real(path + ".latency_seconds", link.latency_seconds(), Real::kNotNegative);
    document_.check_real(path + ".bytes_per_second", link.bytes_per_second(), Real::kPositive);
    document_.check_real(path + ".busy_latency_seconds", link.busy_latency_seconds(),
                         Real::kNotNegative);
    document_.check_real(path + ".busy_bytes_per_second", link.busy_bytes_per_second(),
                         Real::kNotNegative);
    document_.check_real(path + ".reduce_bytes_per_second", link.reduce_bytes_per_second(),
                         Real::kNotNegative);
    const auto ends = std::minmax(index_of_id_.at(link.from()), index_of_id_.at(link.to()));
    const auto [other, added] =
        links_.emplace(std::tuple(ends.first, ends.second, link.same_node()), i);
    if (!added)
      document_.fail(
          path, path + " joins what link[" + text(other->second) + "] joins already; keep one");
  }

  void check_all_pairs_linked() const {
    for (int a = 0; a < cluster_.device_size(); ++a)
      for (int b = a; b < cluster_.device_size(); ++b) {
        if (a == b && cluster_.device(a).count() == 1) continue;
        const bool only_one_node = a == b && cluster_.device(a).per_node() == 0;
        if (links_.count({a, b, false}) || (links_.count({a, b, true}) && only_one_node)) continue;
        const bool alike_host = cluster_.device(a).per_node() == 0 &&
                                cluster_.device(b).per_node() == 0 &&
                                cluster_.device(a).node() == cluster_.device(b).node();
        if (links_.count({a, b, true}) && alike_host) continue;
        document_.fail(
            element("device", b),
            "no link joins " + quoted(cluster_.device(a).id()) + " and " +
                quoted(cluster_.device(b).id()) +
                "; measure again, or add link { from: " + quoted(cluster_.device(a).id()) +
                " to: " + quoted(cluster_.device(b).id()) + " ... }");
      }
  }

  const proto::Cluster& cluster_;
  const TextDocument& document_;
  std::map<std::string, int> index_of_id_;
  std::map<std::tuple<int, int, bool>, int> links_;
  int64_t ranks_ = 0;
};

}  // namespace

void validate(const proto::Cluster& cluster, const TextDocument& document) {
  ClusterValidator(cluster, document).check();
}

void check_measured(const MeasuredLayers& have, const Recipe& recipe,
                    const TextDocument& document) {
  const MeasuredLayers want = measured_layers(recipe);
  const auto differ = [&](const char* field, const std::string& a, const std::string& b) {
    document.fail(std::string("measured.") + field, std::string("measured.") + field + " is " + a +
                                                        ", the recipe's is " + b +
                                                        "; run kente bench with this recipe");
  };
  const auto compare = [&](const char* field, int64_t a, int64_t b) {
    if (a != b) differ(field, text(a), text(b));
  };
  if (have.family != want.family)
    differ("model_type", std::string(model_type_of(have.family)),
           std::string(model_type_of(want.family)));
  compare("vocab_size", have.vocab_size, want.vocab_size);
  compare("hidden_size", have.hidden_size, want.hidden_size);
  compare("intermediate_size", have.intermediate_size, want.intermediate_size);
  compare("num_attention_heads", have.num_attention_heads, want.num_attention_heads);
  compare("num_key_value_heads", have.num_key_value_heads, want.num_key_value_heads);
  compare("sequence_length", have.sequence_length, want.sequence_length);
  compare("grain_samples", have.grain_samples, want.grain_samples);
  compare("stop_at_documents", have.stop_at_documents, want.stop_at_documents);
  if (have.reduction != want.reduction)
    differ("reduction", have.reduction == Reduction::kExact ? "EXACT" : "FAST",
           want.reduction == Reduction::kExact ? "EXACT" : "FAST");
}

}  // namespace kente
