#include "csrc/plan/nothing_fits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "csrc/plan/pipeline_catalogue.h"
#include "csrc/plan/plan_words.h"

namespace kente {
namespace {

/// Clusters up to this many ranks have every order of a pipeline tried.
constexpr size_t kAllOrders = 5;
/// Devices of a kind that an advice may ask for.
constexpr int64_t kMostAdded = 4096;

void keep_nearer(NearestPipeline& best, const std::vector<int>& ranks,
                 const PipelineOption& option) {
  if (option.blocks.empty() || option.run.total_lacking() >= best.total_lacking) return;
  best = {.ranks = ranks,
          .blocks = option.blocks,
          .bytes = option.run.bytes,
          .lacking = option.run.lacking,
          .total_lacking = option.run.total_lacking()};
}

bool fits(const CostModel& model, const PlanOptions& options) {
  return nearest_pipeline(model, options).total_lacking == 0;
}

/// What the lacking ranks' devices must have free instead.
std::string more_memory(const CostModel& model, const NearestPipeline& nearest,
                        const PlanOptions& options) {
  std::string text;
  for (size_t i = 0; i < nearest.ranks.size(); ++i) {
    if (nearest.lacking[i] == 0) continue;
    const auto more = static_cast<int64_t>(
                          std::ceil(static_cast<double>(nearest.lacking[i]) / options.memory_use)) +
                      1;
    text += fmt::format("{}{} more on rank {} ({})", text.empty() ? "" : " and ", bytes_words(more),
                        nearest.ranks[i], device_name(model, nearest.ranks[i]));
  }
  return text;
}

/// The fewest further devices of one entry with which the model fits; 0 when none helps.
int64_t devices_needed(const CostModel& model, size_t device, const PlanOptions& options) {
  ClusterProfile cluster = model.cluster();
  const int64_t before = cluster.devices[device].count;
  const auto longest = model.recipe().model.num_hidden_layers + 2;
  const auto enough = [&](int64_t added) {
    cluster.devices[device].count = before + added;
    return fits(CostModel(model.recipe(), cluster, model.state_copies()), options);
  };
  int64_t high = 1;
  while (high <= std::min(kMostAdded, longest) && !enough(high)) high *= 2;
  if (high > std::min(kMostAdded, longest)) return 0;
  int64_t low = high / 2;  // not enough
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

/// The largest smaller grain with which the model fits; 0 when none does.
int64_t smaller_grain(const CostModel& model, const PlanOptions& options) {
  Recipe recipe = model.recipe();
  for (int64_t samples = recipe.grain_samples - 1; samples >= 1; --samples) {
    if (model.recipe().samples_per_step() % samples != 0) continue;
    recipe.grain_samples = samples;
    if (fits(CostModel(recipe, model.cluster(), model.state_copies()), options)) return samples;
  }
  return 0;
}

}  // namespace

NearestPipeline nearest_pipeline(const CostModel& model, const PlanOptions& options) {
  PipelineCatalogue catalogue(model, options.memory_use, Effort::kThorough);
  const ScheduleKind schedule =
      std::count(options.schedules.begin(), options.schedules.end(), ScheduleKind::k1F1B)
          ? ScheduleKind::k1F1B
          : options.schedules.front();
  std::vector<int> ranks(static_cast<size_t>(model.ranks().num_ranks()));
  std::iota(ranks.begin(), ranks.end(), 0);
  std::stable_sort(ranks.begin(), ranks.end(), [&](int a, int b) {
    return catalogue.runner().limit_of(a) > catalogue.runner().limit_of(b);
  });
  const auto longest = static_cast<size_t>(model.recipe().model.num_hidden_layers) + 2;
  if (ranks.size() > longest) ranks.resize(longest);
  NearestPipeline best;
  best.total_lacking = std::numeric_limits<int64_t>::max();
  const int64_t share = model.recipe().grains_per_step();
  for (size_t length = ranks.size(); length > 0; --length) {
    std::vector<int> order(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(length));
    keep_nearer(best, order, catalogue.nearest(order, share, schedule));
    std::reverse(order.begin(), order.end());
    keep_nearer(best, order, catalogue.nearest(order, share, schedule));
    std::sort(order.begin(), order.end());
    if (length > kAllOrders) continue;
    do {
      keep_nearer(best, order, catalogue.nearest(order, share, schedule));
    } while (std::next_permutation(order.begin(), order.end()));
  }
  return best;
}

std::string why_nothing_fits(const CostModel& model, const PlanOptions& options) {
  const NearestPipeline nearest = nearest_pipeline(model, options);
  std::string lacks;
  for (size_t i = 0; i < nearest.ranks.size(); ++i)
    if (nearest.lacking[i] > 0)
      lacks += fmt::format(
          "{}{} on rank {} ({}: needs {}, may take {})", lacks.empty() ? "" : " and ",
          bytes_words(nearest.lacking[i]), nearest.ranks[i], device_name(model, nearest.ranks[i]),
          bytes_words(nearest.bytes[i]), bytes_words(nearest.bytes[i] - nearest.lacking[i]));
  std::string text = fmt::format(
      "no plan fits into {:.0f} % of the free memory: the nearest, one pipeline of {} {}, lacks "
      "{}; "
      "any of these is enough: {}",
      100 * options.memory_use, nearest.ranks.size(), nearest.ranks.size() == 1 ? "rank" : "ranks",
      lacks, more_memory(model, nearest, options));
  for (size_t d = 0; d < model.cluster().devices.size(); ++d)
    if (const int64_t more = devices_needed(model, d, options))
      text += fmt::format(", or {} more {} like {}", more, more == 1 ? "device" : "devices",
                          model.cluster().devices[d].id);
  if (const int64_t samples = smaller_grain(model, options))
    text += fmt::format(", or grain_samples: {} in the recipe, measured again", samples);
  return text;
}

}  // namespace kente
