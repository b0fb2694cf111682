// C6, computing ranks: two ranks of which one may be capped to a part of its core. Prints one line
// of JSON; benchmarks/c6_capped.py starts it beside PyTorch DDP and makes the table.
//
//   mpirun -n 1 build/cpu/bin/c6_capped : -n 1 build/cpu/bin/kente throttle --cpu 50 --
//       build/cpu/bin/c6_capped
//
// 6.9M GPT-2 shape, fp32, 16 grains of 256 tokens a step. First each rank trains the whole model
// alone while the other waits, then both by the plan made from the measured profile, then both with
// equal shares.
#include <fmt/format.h>

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

constexpr int kSteps = 3;
constexpr int64_t kGrains = 16;

/// Tokens a second of the plan over a communicator; the slowest rank's clock.
double tokens_per_second(Communicator& world, const Recipe& recipe, const Plan& plan) {
  Trainee trainee(recipe, plan, world);
  std::vector<double> seconds;
  for (int i = -1; i < kSteps; ++i) {
    world.barrier(Deadline::after_seconds(120));
    const double took = max_over_ranks(world, trainee.run());
    if (i >= 0) seconds.push_back(took);
  }
  return static_cast<double>(recipe.global_batch_tokens) / median_of(std::move(seconds));
}

/// The fastest way for one rank: the planner's, from its part of the profile.
Plan alone_plan(const Recipe& recipe, const ClusterProfile& cluster, int rank) {
  ClusterProfile single = cluster;
  single.devices = {cluster.devices.at(static_cast<size_t>(rank))};
  single.links.clear();
  const CostModel model(recipe, single);
  return make_plan(model, {}).finalists.at(0).plan;
}

int run() {
  prepare_to_compute();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  const auto files = posix_file_system();
  const auto log = null_log();
  const Recipe recipe = shape_6_9m(kGrains);
  BenchOptions bench;
  bench.recipe = recipe;
  bench.out_directory = std::filesystem::temp_directory_path();
  bench.build_id = "c6";
  const Measurement measured = measure_cluster(bench, *world, *files, *log);
  std::vector<double> alone(static_cast<size_t>(world->size()), 0);
  for (int rank = 0; rank < world->size(); ++rank) {
    world->barrier(Deadline::after_seconds(600));
    if (rank == world->rank()) {
      const auto single = make_single();
      alone[static_cast<size_t>(rank)] =
          tokens_per_second(*single, recipe, alone_plan(recipe, measured.cluster, rank));
    }
  }
  world->barrier(Deadline::after_seconds(600));
  for (double& rate : alone) rate = max_over_ranks(*world, rate);
  const CostModel model(recipe, measured.cluster);
  const PlanResult planned = make_plan(model, {});
  const Candidate& best = planned.finalists.at(0);
  const double together = tokens_per_second(*world, recipe, best.plan);
  const double equal = tokens_per_second(*world, recipe, even_plan(recipe, world->size(), 1));
  if (world->rank() != 0) return 0;
  nlohmann::json line = {
      {"alone", alone},
      {"together", together},
      {"equal_shares", equal},
      {"predicted", static_cast<double>(recipe.global_batch_tokens) / best.cost.step_seconds}};
  for (const ReplicaPlan& replica : best.plan.replicas)
    line["plan"].push_back({{"stages", replica.stages.size()}, {"share", replica.share}});
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
