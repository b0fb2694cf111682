#include "tests/support/random_plans.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "csrc/base/rng.h"

namespace kente {
namespace {

constexpr int kMaxRanks = 4;
constexpr int kMaxWeight = 4;

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}

  /// In [0, count).
  int below(int count) {
    return static_cast<int>(random_bits(seed_, RngUse::kTest, 17, next_++) %
                            static_cast<uint64_t>(count));
  }
  bool one_in(int count) { return below(count) == 0; }

  template <typename Value>
  void shuffle(std::vector<Value>& values) {
    for (size_t left = values.size(); left > 1; --left)
      std::swap(values[left - 1], values[static_cast<size_t>(below(static_cast<int>(left)))]);
  }

 private:
  uint64_t seed_;
  uint64_t next_ = 0;
};

/// total in so many parts of at least one.
std::vector<int64_t> parts_of(int64_t total, int parts, Dice& dice) {
  std::vector<int64_t> sizes(static_cast<size_t>(parts), 1);
  for (int64_t left = total - parts; left > 0; --left)
    ++sizes[static_cast<size_t>(dice.below(parts))];
  return sizes;
}

ReplicaPlan random_replica(const Recipe& recipe, const std::vector<int>& ranks, bool interleaved,
                           Dice& dice) {
  const int layers = recipe.model.num_layers();
  const int stages = static_cast<int>(ranks.size());
  const int chunks = interleaved ? stages + dice.below(layers - stages + 1) : stages;
  std::vector<int> stage_of_chunk;
  stage_of_chunk.reserve(static_cast<size_t>(chunks));
  for (int c = 0; c < chunks; ++c) stage_of_chunk.push_back(c < stages ? c : dice.below(stages));
  dice.shuffle(stage_of_chunk);

  ReplicaPlan replica;
  for (const int rank : ranks) {
    StagePlan stage;
    stage.ranks = {rank};
    stage.compute = recipe.numerics.compute;
    stage.recompute = dice.one_in(3) ? Recompute::kFull : Recompute::kNone;
    replica.stages.push_back(stage);
  }
  const std::vector<int64_t> lengths = parts_of(layers, chunks, dice);
  int first = 0;
  for (size_t c = 0; c < lengths.size(); ++c) {
    const int end = first + static_cast<int>(lengths[c]);
    replica.stages[static_cast<size_t>(stage_of_chunk[c])].layers.push_back(
        {.first = first, .last = end - 1});
    first = end;
  }
  return replica;
}

}  // namespace

RandomPlan random_plan(const Recipe& recipe, uint64_t seed) {
  Dice dice(seed);
  RandomPlan random;
  random.ranks = 1 + std::max(dice.below(kMaxRanks), dice.below(kMaxRanks));
  std::vector<int> ranks(static_cast<size_t>(random.ranks));
  std::iota(ranks.begin(), ranks.end(), 0);
  dice.shuffle(ranks);
  if (ranks.size() > 1 && dice.one_in(4)) ranks.pop_back();  // a spare

  const int busy = static_cast<int>(ranks.size());
  const int replicas = 1 + dice.below(std::min(busy, static_cast<int>(recipe.grains_per_step())));
  Plan& plan = random.plan;
  constexpr ScheduleKind kKinds[] = {ScheduleKind::kGPipe, ScheduleKind::k1F1B,
                                     ScheduleKind::kZeroBubble};
  plan.schedule = kKinds[dice.below(3)];
  const std::vector<int64_t> lengths = parts_of(busy, replicas, dice);
  const std::vector<int64_t> shares = parts_of(recipe.grains_per_step(), replicas, dice);
  auto next = ranks.begin();
  for (size_t r = 0; r < lengths.size(); ++r) {
    const std::vector<int> own(next, next + static_cast<std::ptrdiff_t>(lengths[r]));
    next += static_cast<std::ptrdiff_t>(lengths[r]);
    const bool interleaved = plan.schedule == ScheduleKind::kGPipe && dice.one_in(2);
    plan.replicas.push_back(random_replica(recipe, own, interleaved, dice));
    plan.replicas.back().share = shares[r];
    if (plan.schedule != ScheduleKind::kZeroBubble) continue;
    plan.replicas.back().under_way = 1 + dice.below(2 * static_cast<int>(own.size()));
    for (StagePlan& stage : plan.replicas.back().stages)
      stage.times = {.forward = 1 + dice.below(50),
                     .backward_input = 1 + dice.below(50),
                     .backward_weight = 1 + dice.below(50),
                     .message = dice.below(50)};
  }
  plan.shard_optimizer = dice.one_in(2);
  if (plan.shard_optimizer)
    for (ReplicaPlan& replica : plan.replicas)
      for (StagePlan& stage : replica.stages) stage.optimizer_weight = dice.below(kMaxWeight + 1);
  return random;
}

}  // namespace kente
