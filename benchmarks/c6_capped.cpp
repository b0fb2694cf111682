// C6, computing ranks: two ranks of which one may be capped to a part of its core. Prints one line
// of JSON; benchmarks/c6_capped.py starts it beside PyTorch DDP and makes the table.
//
//   mpirun -n 1 build/cpu/bin/c6_capped : -n 1 build/cpu/bin/kente throttle --cpu 50 --
//       build/cpu/bin/c6_capped
//
// 6.9M GPT-2 shape, fp32, 64 grains of 128 tokens a step. Round after round: each rank trains the
// whole model alone while the other waits; both do at the same time, each for itself, which is
// what two busy cores of this machine can give at all; both do by the plan made from the measured
// profile; both do with equal shares. The machine's own speed drifts by several per cent in a
// minute; it drifts for all alike.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "benchmarks/trainee.h"
#include "comm/local.h"
#include "comm/mpi.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/log_file.h"
#include "csrc/measure/bench.h"
#include "csrc/plan/planner.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

constexpr int kRounds = 3;
constexpr int64_t kGrains = 64, kLength = 128;

Recipe recipe_of_c6() {
  Recipe recipe = shape_6_9m(kGrains);
  recipe.sequence_length = kLength;
  recipe.global_batch_tokens = kGrains * kLength;
  return recipe;
}

/// One way to train that is timed against the others. Of two steps the first wakes the core and
/// fills the caches, and is not counted.
class Contender {
 public:
  /// world: of the ranks that take part, ordered.
  Contender(const Recipe& recipe, const Plan& plan, Communicator& world)
      : trainee_(recipe, plan, world) {}

  void run() { run(1); }
  void run(int steps) {
    trainee_.run();
    for (int step = 0; step < steps; ++step) seconds_.push_back(trainee_.run());
  }
  double tokens_per_second() const {
    return static_cast<double>(trainee_.recipe().global_batch_tokens) / median_of(seconds_);
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

int run() {
  prepare_to_compute();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  const auto files = posix_file_system();
  const auto log = null_log();
  const Recipe recipe = recipe_of_c6();
  BenchOptions bench;
  bench.recipe = recipe;
  bench.out_directory = std::filesystem::temp_directory_path();
  bench.build_id = "c6";
  const Measurement measured = measure_cluster(bench, *world, *files, *log);
  const CostModel model(recipe, measured.cluster);
  const Candidate best = make_plan(model, {}).finalists.at(0);
  const Candidate mine = alone_plan(recipe, measured.cluster, world->rank());
  const auto single = make_single();
  const std::vector<double> predicted_rates = of_all_ranks(*world, predicted_rate(recipe, mine));
  Contender alone(recipe, mine.plan, *single), apart(recipe, mine.plan, *single),
      together(recipe, best.plan, *world),
      equal(recipe, even_plan(recipe, world->size(), 1), *world);
  const auto meet = [&] { world->barrier(Deadline::after_seconds(600)); };
  for (int round = 0; round < kRounds; ++round) {
    for (int rank = 0; rank < world->size(); ++rank) {
      meet();
      if (rank == world->rank()) alone.run();
    }
    meet();
    apart.run(steps_beside_slowest(predicted_rates, world->rank()));
    for (Contender* both : {&equal, &together}) {
      meet();
      both->run();
    }
  }
  nlohmann::json line = {{"alone", of_all_ranks(*world, alone.tokens_per_second())},
                         {"apart", of_all_ranks(*world, apart.tokens_per_second())},
                         {"predicted_alone", predicted_rates},
                         {"together", -max_over_ranks(*world, -together.tokens_per_second())},
                         {"equal_shares", -max_over_ranks(*world, -equal.tokens_per_second())},
                         {"predicted", predicted_rate(recipe, best)}};
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

int main() {
  try {
    return kente::run();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "c6_capped: %s\n", failure.what());
    return static_cast<int>(kente::exit_status(failure));
  }
}
