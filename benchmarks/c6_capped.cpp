// C6, computing ranks: two ranks of which one may be capped to a part of its core. Prints one line
// of JSON; benchmarks/c6_capped.py starts it beside PyTorch DDP and makes the table.
//
//   mpirun -n 1 build/cpu/bin/c6_capped : -n 1 build/cpu/bin/kente throttle --cpu 50 --
//       build/cpu/bin/c6_capped
//
// 6.9M GPT-2 shape, fp32, 64 grains of 128 tokens a step. The plan is made from the measured
// profile and then laid beside its first steps, as kente train does it, and changed where that
// pays. Then, round after round: each rank trains the whole model alone while the other waits, and
// between them both by the plan; both at the same time, each for itself, which is what two busy
// cores of this machine can give at all; both with equal shares. The machine's own speed drifts by
// tens of per cent within minutes: a round's rates belong together, and a ratio is one round's.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "benchmarks/measured_cluster.h"
#include "benchmarks/trainee.h"
#include "comm/local.h"
#include "comm/mpi.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/log_file.h"
#include "csrc/config/parse.h"
#include "csrc/plan/planner.h"
#include "csrc/train/gather.h"
#include "csrc/train/plan_watch.h"
#include "csrc/train/prepare_process.h"
#include "csrc/train/rebalance.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr int kRounds = 5;
constexpr int kWatchedSteps = 42;  // 2 to warm up, 4 stretches of 10
constexpr int64_t kGrains = 64, kLength = 128;

Recipe recipe_of_c6() {
  Recipe recipe = shape_6_9m(kGrains);
  recipe.sequence_length = kLength;
  recipe.global_batch_tokens = kGrains * kLength;
  return recipe;
}

/// One way to train that is timed against the others, a step at a time: one takes seconds, so that
/// what the caches lack at its beginning does not show. The very first is not counted.
class Contender {
 public:
  /// world: of the ranks that take part, ordered.
  Contender(const Recipe& recipe, const Plan& plan, Communicator& world)
      : trainee_(recipe, plan, world) {
    trainee_.run();
  }

  void run(int steps = 1) {
    for (int step = 0; step < steps; ++step) seconds_.push_back(trainee_.run());
  }
  /// Of the steps since the last call, after which there are none.
  double take_tokens_per_second() {
    const std::vector<double> seconds = std::exchange(seconds_, {});
    return static_cast<double>(trainee_.recipe().global_batch_tokens) *
           static_cast<double>(seconds.size()) /
           std::accumulate(seconds.begin(), seconds.end(), 0.0);
  }

 private:
  Trainee trainee_;
  std::vector<double> seconds_;
};

/// The fastest way for one rank: the planner's, from its part of the profile.
Candidate alone_plan(const Recipe& recipe, const ClusterProfile& cluster, int rank) {
  ClusterProfile single = cluster;
  single.devices = {cluster.devices.at(static_cast<size_t>(rank))};
  single.links.clear();
  const CostModel model(recipe, single);
  return make_plan(model, {}).finalists.at(0);
}

/// So many steps of this rank take as long as one of the slowest.
int steps_beside_slowest(const std::vector<double>& rates, int rank) {
  const double least = *std::min_element(rates.begin(), rates.end());
  return static_cast<int>(std::lround(rates.at(static_cast<size_t>(rank)) / least));
}

/// One number of each rank, on all ranks.
std::vector<double> of_all_ranks(Communicator& world, double own) {
  std::vector<double> all;
  for (int rank = 0; rank < world.size(); ++rank)
    all.push_back(max_over_ranks(world, rank == world.rank() ? own : 0));
  return all;
}

double predicted_rate(const Recipe& recipe, const Candidate& candidate) {
  return static_cast<double>(recipe.global_batch_tokens) / candidate.cost.step_seconds;
}

/// A plan, and the profile its prediction comes from.
struct Planned {
  Plan plan;
  ClusterProfile cluster;
};

/// What rank 0 has, on all ranks.
Planned of_rank_0(const Recipe& recipe, const Planned& mine, Communicator& world) {
  const Deadline deadline = Deadline::after_seconds(60);
  const std::string plan = all_gather_text(world, to_text(mine.plan), deadline).front();
  const std::string cluster = all_gather_text(world, to_text(mine.cluster), deadline).front();
  return {parse_plan(plan, "plan", recipe), parse_cluster(cluster, "cluster")};
}

/// Trains by a plan for four stretches of steps at most, as kente train begins; the better plan
/// that it would then change to, if there is one.
std::optional<Planned> better_plan(const Recipe& recipe, const Planned& first, Communicator& world,
                                   Log& log) {
  Trainee trainee(recipe, first.plan, world);
  PlanWatch watch(recipe, first.plan, first.cluster, world, 600);
  Rebalance rebalance(recipe, 0, log);
  for (int step = 0; step < kWatchedSteps; ++step) {
    const double seconds = trainee.run();
    if (const auto watched = watch.step(seconds, trainee.runner().clock()))
      rebalance.stretch(first.plan, {.seconds = watched->seconds,
                                     .off = watched->off,
                                     .corrected = watched->corrected,
                                     .settled = watched->settled,
                                     .steps_left = recipe.steps});
    while (rebalance.looking()) rebalance.wanted();
    if (max_over_ranks(world, rebalance.wanted() ? 1 : 0) == 0) continue;
    Planned better = first;
    if (world.rank() == 0) {
      Rebalance::Change change = rebalance.take();
      better = {std::move(change.plan), std::move(change.cluster)};
    }
    return of_rank_0(recipe, better, world);
  }
  return std::nullopt;
}

Planned plan_of_kente(const Recipe& recipe, const ClusterProfile& cluster, Communicator& world,
                      Log& log) {
  Planned planned{make_plan(CostModel(recipe, cluster), {}).finalists.at(0).plan, cluster};
  for (int changes = 0; changes < 2; ++changes) {
    std::optional<Planned> better = better_plan(recipe, planned, world, log);
    if (!better) break;
    planned = *std::move(better);
  }
  return planned;
}

double predicted_rate(const Recipe& recipe, const Planned& planned) {
  const PlanCost cost = predict(CostModel(recipe, planned.cluster), planned.plan);
  return static_cast<double>(recipe.global_batch_tokens) / cost.step_seconds;
}

int run(int, char**) {
  prepare_process();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  const auto log = null_log();
  const Recipe recipe = recipe_of_c6();
  const ClusterProfile cluster = measured_cluster(recipe, *world);
  const Planned best = plan_of_kente(recipe, cluster, *world, *log);
  const Candidate mine = alone_plan(recipe, cluster, world->rank());
  const std::vector<double> speeds = of_all_ranks(*world, predicted_rate(recipe, mine));
  const auto single = make_single();
  Contender alone(recipe, mine.plan, *single), apart(recipe, mine.plan, *single),
      together(recipe, best.plan, *world),
      equal(recipe, even_plan(recipe, world->size(), 1), *world);
  const auto meet = [&] { world->barrier(Deadline::after_seconds(600)); };
  nlohmann::json line = {{"predicted", predicted_rate(recipe, best)}};
  for (int round = 0; round < kRounds; ++round) {
    for (int rank = 0; rank < world->size(); ++rank) {
      meet();
      if (rank == world->rank()) alone.run();
      meet();
      together.run(2);
    }
    meet();
    apart.run(steps_beside_slowest(speeds, world->rank()));
    meet();
    equal.run();
    line["rounds"].push_back(
        {{"alone", of_all_ranks(*world, alone.take_tokens_per_second())},
         {"apart", of_all_ranks(*world, apart.take_tokens_per_second())},
         {"together", -max_over_ranks(*world, -together.take_tokens_per_second())},
         {"equal_shares", -max_over_ranks(*world, -equal.take_tokens_per_second())}});
  }
  if (world->rank() != 0) return 0;
  for (const ReplicaPlan& replica : best.plan.replicas)
    line["plan"].push_back({{"stages", replica.stages.size()},
                            {"share", replica.share},
                            {"grains_per_micro_batch", replica.grains_per_micro_batch}});
  fmt::print("{}\n", line.dump());
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) { return kente::program_main("c6_capped", kente::run, argc, argv); }
