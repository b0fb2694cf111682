#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/plan/flops.h"
#include "csrc/plan/mesh.h"
#include "csrc/plan/partition.h"

namespace kente {
namespace {

/// Rows beyond which a GEMM gains nothing more, while activations keep growing.
constexpr int64_t kMicroBatchTokens = 1024;
/// Micro-batches a stage that keep the bubble near a fifth or below.
constexpr int64_t kMicroBatchesPerStage = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Shares in proportion to speeds by largest remainders; every replica gets at least one grain.
std::vector<int64_t> share_out(int64_t grains, const std::vector<double>& speeds) {
  const double total = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  std::vector<int64_t> shares;
  shares.reserve(speeds.size());
  for (const double speed : speeds)
    shares.push_back(
        std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(grains) * speed / total)));
  int64_t left = grains - std::accumulate(shares.begin(), shares.end(), int64_t{0});
  // One grain at a time goes to (or comes from) the replica that is left furthest behind (ahead).
  for (; left != 0; left += left > 0 ? -1 : 1) {
    size_t chosen = shares.size();
    double best = 0;
    for (size_t r = 0; r < shares.size(); ++r) {
      if (left < 0 && shares[r] == 1) continue;
      const double next = static_cast<double>(left > 0 ? shares[r] + 1 : shares[r]);
      const double time = next / speeds[r];
      if (chosen == shares.size() || (left > 0 ? time < best : time > best)) {
        chosen = r;
        best = time;
      }
    }
    shares[chosen] += left > 0 ? 1 : -1;
  }
  return shares;
}

int64_t grains_at_once(const Recipe& recipe, int64_t share, int64_t stages) {
  if (recipe.numerics.reduction == Reduction::kExact) return 1;
  const int64_t grain_tokens = recipe.grain_samples * recipe.sequence_length;
  const int64_t by_tokens = std::max<int64_t>(1, kMicroBatchTokens / grain_tokens);
  const int64_t wanted = stages == 1 ? 1 : stages * kMicroBatchesPerStage;
  const int64_t by_bubble = std::max<int64_t>(1, share / wanted);
  const int64_t count = ceil_div(share, std::min(by_tokens, by_bubble));
  return ceil_div(share, count);
}

/// One replica a list of stage counts; ranks are numbered pipeline by pipeline.
Plan plan_of_lengths(const Recipe& recipe, const std::vector<int>& lengths) {
  const std::vector<double> costs = forward_flops_per_token(recipe.model, recipe.sequence_length);
  Plan plan;
  std::vector<double> speeds;
  int rank = 0;
  for (const int stages : lengths) {
    const std::vector<int> borders = split_evenly(costs, stages);
    ReplicaPlan replica;
    double dearest = 0;
    for (size_t s = 0; s + 1 < borders.size(); ++s) {
      StagePlan stage;
      stage.ranks = {rank++};
      stage.layers = {{.first = borders[s], .last = borders[s + 1] - 1}};
      stage.compute = recipe.numerics.compute;
      replica.stages.push_back(stage);
      dearest = std::max(dearest, std::accumulate(costs.begin() + borders[s],
                                                  costs.begin() + borders[s + 1], 0.0));
    }
    speeds.push_back(1 / dearest);
    plan.replicas.push_back(replica);
  }
  const std::vector<int64_t> shares = share_out(recipe.grains_per_step(), speeds);
  for (size_t r = 0; r < shares.size(); ++r) {
    plan.replicas[r].share = shares[r];
    plan.replicas[r].grains_per_micro_batch = grains_at_once(recipe, shares[r], lengths[r]);
  }
  return plan;
}

}  // namespace

Plan even_plan(const Recipe& recipe, int ranks, int stages) {
  if (ranks < 1 || stages < 1 || ranks % stages != 0)
    throw UsageError(std::to_string(ranks) + " ranks cannot form pipelines of " +
                     std::to_string(stages) + " stages: want a multiple");
  if (stages > recipe.model.num_layers())
    throw UsageError(std::to_string(stages) + " stages are more than the model's " +
                     std::to_string(recipe.model.num_layers()) +
                     " layers (embedding and head included)");
  const int replicas = ranks / stages;
  if (replicas > recipe.grains_per_step())
    throw UsageError(std::to_string(replicas) + " replicas are more than the step's " +
                     std::to_string(recipe.grains_per_step()) +
                     " grains: use more stages, or fewer ranks");
  return plan_of_lengths(recipe, std::vector<int>(static_cast<size_t>(replicas), stages));
}

Plan even_plan(const Recipe& recipe, int ranks) {
  if (ranks < 1) throw UsageError(std::to_string(ranks) + " ranks: want at least one");
  const int layers = recipe.model.num_layers();
  const auto replicas =
      static_cast<int>(std::min<int64_t>(std::max(1, ranks / 2), recipe.grains_per_step()));
  std::vector<int> lengths;
  lengths.reserve(static_cast<size_t>(replicas));
  for (int r = 0; r < replicas; ++r)
    lengths.push_back(std::min(layers, ranks / replicas + (r < ranks % replicas ? 1 : 0)));
  return plan_of_lengths(recipe, lengths);
}

}  // namespace kente
