#include "tests/support/random_clusters.h"

#include <cmath>
#include <string>

#include "csrc/base/rng.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

/// Draws one after the other from a seed.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  double uniform(double low, double high) {
    return low + (high - low) * random_uniform(seed_, RngUse::kTest, 17, next_++);
  }
  /// Evenly spread over orders of magnitude.
  double spread(double low, double high) {
    return std::exp(uniform(std::log(low), std::log(high)));
  }
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(uniform(0, 1) * static_cast<double>(high - low + 1));
  }
  bool chance(double part) { return uniform(0, 1) < part; }

 private:
  uint64_t seed_;
  uint64_t next_ = 0;
};

LayerCurve curve(LayerKind layer, double forward, double backward_input, double backward_weight) {
  LayerCurve made;
  made.layer = layer;
  // Twice the grains take a little less than twice as long.
  for (const int64_t grains : {1, 2, 4}) {
    const double times = 0.15 + 0.85 * static_cast<double>(grains);
    made.at.push_back({.grains = grains,
                       .forward = forward * times,
                       .loss = layer == LayerKind::kHead ? 0.3 * forward * times : 0,
                       .backward_input = backward_input * times,
                       .backward_weight = backward_weight * times});
  }
  return made;
}

Recipe wide_recipe(int64_t blocks, int64_t grains, Reduction reduction) {
  Recipe recipe = small_recipe(ModelFamily::kLlama);
  recipe.model.num_hidden_layers = blocks;
  // Activations and weights that a limit on memory can tell apart.
  recipe.model.hidden_size = 256;
  recipe.model.intermediate_size = 704;
  recipe.model.vocab_size = 4096;
  recipe.model.max_position_embeddings = 512;
  recipe.sequence_length = 512;
  recipe.numerics.reduction = reduction;
  recipe.global_batch_tokens = grains * recipe.sequence_length * recipe.grain_samples;
  return recipe;
}

}  // namespace

DeviceProfile made_up_device(const std::string& id, double scale, int64_t memory_bytes) {
  DeviceProfile device;
  device.id = id;
  device.kind = "made up";
  device.node = id;
  device.memory_bytes = memory_bytes;
  device.curves = {curve(LayerKind::kEmbedding, 1e-4 * scale, 1e-5 * scale, 2e-4 * scale),
                   curve(LayerKind::kBlock, 1e-3 * scale, 1.1e-3 * scale, 0.9e-3 * scale),
                   curve(LayerKind::kHead, 1.4e-3 * scale, 1.5e-3 * scale, 1.3e-3 * scale)};
  device.optimizer_seconds_per_parameter = 2e-10 * scale;
  return device;
}

void link_all(ClusterProfile& cluster, double latency_seconds, double bytes_per_second) {
  for (size_t a = 0; a < cluster.devices.size(); ++a)
    for (size_t b = a; b < cluster.devices.size(); ++b)
      cluster.links.push_back({.from = cluster.devices[a].id,
                               .to = cluster.devices[b].id,
                               .latency_seconds = latency_seconds,
                               .bytes_per_second = bytes_per_second});
}

PlanningCase random_small_case(uint64_t seed) {
  Draws draw(seed);
  const int64_t devices = draw.chance(0.1) ? 4 : draw.integer(2, 3);
  const int64_t blocks = draw.integer(2, devices == 4 ? 3 : 5);
  const int64_t grains = draw.integer(2, devices == 4 ? 3 : devices == 3 ? 4 : 6);
  const Reduction reduction = draw.chance(0.5) ? Reduction::kExact : Reduction::kFast;
  PlanningCase made{.recipe = wide_recipe(blocks, grains, reduction), .cluster = {}};
  made.cluster.name = "case " + std::to_string(seed);
  made.cluster.measured = measured_layers(made.recipe);
  const bool scarce = draw.chance(0.4);
  for (int64_t d = 0; d < devices; ++d) {
    // Alike devices are one entry, or two that happen to be alike.
    if (d > 0 && draw.chance(0.3)) {
      DeviceProfile& last = made.cluster.devices.back();
      if (draw.chance(0.7)) {
        ++last.count;
        continue;
      }
      made.cluster.devices.push_back(last);
      made.cluster.devices.back().count = 1;
    } else {
      // 190 MiB are taken before the first parameter; 80 more hold a block or two.
      const double mib = scarce ? draw.uniform(215, 420) : 4096;
      DeviceProfile device =
          made_up_device("", draw.spread(0.5, 8), static_cast<int64_t>(mib * (1 << 20)));
      device.busy_watts = draw.uniform(50, 400);
      device.idle_watts = draw.uniform(5, 50);
      device.price_per_hour = draw.spread(0.1, 4);
      made.cluster.devices.push_back(device);
    }
    made.cluster.devices.back().id = "d" + std::to_string(d);
    made.cluster.devices.back().node = "n" + std::to_string(d / 2);
  }
  link_all(made.cluster, draw.spread(1e-6, 2e-3), draw.spread(5e7, 2e10));
  for (LinkProfile& link : made.cluster.links) {
    if (draw.chance(0.5)) continue;
    link.latency_seconds *= draw.spread(0.2, 5);
    link.bytes_per_second *= draw.spread(0.2, 5);
  }
  return made;
}

PlanningCase large_case(int64_t devices, int64_t blocks, int64_t grains) {
  PlanningCase made{.recipe = small_recipe(ModelFamily::kLlama), .cluster = {}};
  Recipe& recipe = made.recipe;
  recipe.name = "8B shape, " + std::to_string(blocks) + " blocks";
  recipe.model.vocab_size = 128256;
  recipe.model.hidden_size = 4096;
  recipe.model.intermediate_size = 14336;
  recipe.model.num_hidden_layers = blocks;
  recipe.model.num_attention_heads = 32;
  recipe.model.num_key_value_heads = 8;
  recipe.model.max_position_embeddings = 8192;
  recipe.model.tie_word_embeddings = false;
  recipe.numerics = {.compute = DType::kBF16,
                     .boundary = DType::kBF16,
                     .reduction = Reduction::kFast,
                     .substitutes = {}};
  recipe.sequence_length = 8192;
  recipe.global_batch_tokens = grains * recipe.sequence_length;
  made.cluster.name = std::to_string(devices) + " devices of 8 kinds";
  made.cluster.measured = measured_layers(recipe);
  struct Kind {
    double scale;  // 8: a block's forward of one grain takes 8 ms
    int64_t gib;
  };
  const Kind kinds[] = {{8, 80},  {10, 80}, {14, 48}, {20, 40},
                        {26, 32}, {32, 24}, {48, 24}, {64, 16}};
  for (int64_t k = 0; k < 8; ++k) {
    const Kind& kind = kinds[k];
    DeviceProfile device = made_up_device("kind" + std::to_string(k), kind.scale, kind.gib << 30);
    device.count = devices / 8 + (k < devices % 8 ? 1 : 0);
    device.per_node = std::min<int64_t>(8, device.count);
    device.optimizer_seconds_per_parameter = 2e-12 * kind.scale;
    for (LayerCurve& curve : device.curves) curve.compute = DType::kBF16;
    made.cluster.devices.push_back(device);
  }
  link_all(made.cluster, 2e-5, 1.25e10);
  for (const DeviceProfile& device : made.cluster.devices)
    made.cluster.links.push_back({.from = device.id,
                                  .to = device.id,
                                  .same_node = true,
                                  .latency_seconds = 5e-6,
                                  .bytes_per_second = 1e11});
  return made;
}

}  // namespace kente
