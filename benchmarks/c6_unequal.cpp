// C6, waiting stages: ranks that differ 8x in speed, planned from what kente bench measures alone.
//
//   mpirun -n 4 build/cpu/bin/c6_unequal > benchmarks/results/c6_unequal.md
//
// 24 blocks; a grain's block takes 6 ms at speed 1 (2 ms forward, 2 and 2 backward), embedding and
// head 1 ms a pass; k grains at once take 0.1 + 0.9 k of one's time; every pass of every layer is
// off by a hidden +-5 %. The model below is tiny, so that waiting is all the time there is. A step
// has m micro-batches of 4 grains. Baselines: one pipeline with equal layers, one pipeline with
// layers in proportion to the nominal speeds, and a replica a rank with equal shares (the slowest
// sets the pace).
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

#include "benchmarks/measured_cluster.h"
#include "benchmarks/trainee.h"
#include "comm/mpi.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/plan/describe.h"
#include "csrc/plan/planner.h"
#include "csrc/train/gather.h"
#include "csrc/train/prepare_process.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr int64_t kGrainsPerMicroBatch = 4;
constexpr int kSteps = 5;
constexpr int64_t kBlocks = 24;

Recipe recipe_of(int64_t micro_batches) {
  return tiny_shape(kBlocks, micro_batches * kGrainsPerMicroBatch);
}

Imitation imitated(const std::vector<double>& speeds) {
  Imitation imitation;
  imitation.seed = 6;
  for (const double speed : speeds) {
    ImitatedRank rank;
    rank.kind = fmt::format("speed {:g}", speed);
    rank.waits = true;
    rank.embedding = {.forward = 1e-3, .loss = 0, .backward_input = 1e-3, .backward_weight = 1e-3};
    rank.head = {.forward = 1e-3, .loss = 1e-3, .backward_input = 1e-3, .backward_weight = 1e-3};
    rank.block = {.forward = 2e-3, .loss = 0, .backward_input = 2e-3, .backward_weight = 2e-3};
    rank.speed = speed;
    rank.fixed = 0.1;
    rank.noise = 0.05;
    imitation.ranks.push_back(rank);
  }
  return imitation;
}

/// One pipeline over all ranks; blocks in proportion to weights, at least one each.
Plan pipeline_plan(const Recipe& recipe, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int> last;  // block each stage ends with
  double reached = 0;
  for (const double weight : weights) {
    reached += weight;
    const int at = static_cast<int>(std::lround(reached / sum * static_cast<double>(kBlocks)));
    last.push_back(std::max(at, last.empty() ? 1 : last.back() + 1));
  }
  Plan plan;
  ReplicaPlan replica;
  replica.share = recipe.grains_per_step();
  replica.grains_per_micro_batch = kGrainsPerMicroBatch;
  for (size_t s = 0; s < weights.size(); ++s) {
    StagePlan stage;
    stage.ranks = {static_cast<int>(s)};
    const bool first = s == 0, final = s + 1 == weights.size();
    stage.layers = {{.first = first ? 0 : last[s - 1] + 1,
                     .last = final ? recipe.model.num_layers() - 1 : last[s]}};
    replica.stages.push_back(stage);
  }
  plan.replicas.push_back(replica);
  return plan;
}

Plan equal_shares(const Recipe& recipe, int ranks) {
  Plan plan = even_plan(recipe, ranks, 1);
  for (ReplicaPlan& replica : plan.replicas) {
    replica.grains_per_micro_batch = std::min(kGrainsPerMicroBatch, replica.share);
  }
  return plan;
}

void measure(Communicator& world, const std::vector<double>& speeds, int64_t micro_batches,
             std::vector<double>& errors) {
  const Recipe recipe = recipe_of(micro_batches);
  const Imitation imitation = imitated(speeds);
  const ClusterProfile cluster = measured_cluster(recipe, world, &imitation);
  const CostModel model(recipe, cluster);
  const int64_t begin = now_ns();
  const PlanResult planned = make_plan(model, {});
  const double planning = seconds_since(begin);
  if (planned.finalists.empty()) throw InternalError(planned.nothing_fits);
  const Candidate& best = planned.finalists.front();
  const double kente = median_step(recipe, best.plan, imitation, world, kSteps);
  const double equal_layers =
      median_step(recipe, pipeline_plan(recipe, {1, 1, 1, 1}), imitation, world, kSteps);
  const double by_speed =
      median_step(recipe, pipeline_plan(recipe, speeds), imitation, world, kSteps);
  const double shares =
      median_step(recipe, equal_shares(recipe, world.size()), imitation, world, kSteps);
  double alone = 0;
  for (int rank = 0; rank < world.size(); ++rank) alone += model.alone_grains_per_second(rank);
  const double ideal = static_cast<double>(recipe.grains_per_step()) / alone;
  errors.push_back(std::abs(best.cost.step_seconds / kente - 1));
  if (world.rank() != 0) return;
  std::string names, replicas;
  for (const double speed : speeds) names += fmt::format("{}{:g}", names.empty() ? "" : ":", speed);
  for (const ReplicaPlan& replica : best.plan.replicas) {
    std::string stages;
    for (const StagePlan& stage : replica.stages)
      stages += fmt::format("{}{}", stages.empty() ? "" : "+", stage.ranks.front());
    replicas += fmt::format("{}{} x{}", replicas.empty() ? "" : ", ", stages, replica.share);
  }
  fmt::print(
      "| {} | {} | {} | {:.3f} | {:.3f} | {:+.1f} % | **{:.1f} %** | {:.1f} % | {:.1f} % | {:.1f} "
      "% "
      "| {:.2f} |\n",
      names, micro_batches, replicas, kente, best.cost.step_seconds,
      100 * (best.cost.step_seconds / kente - 1), 100 * ideal / kente, 100 * ideal / equal_layers,
      100 * ideal / by_speed, 100 * ideal / shares, planning);
  std::fflush(stdout);
}

/// The top plans of a few cases run for real: is the planner's first the fastest?
void regret(Communicator& world) {
  if (world.rank() == 0)
    fmt::print(
        "\n## The top five plans, run for real\n\nTen cases, micro-batches and speeds as given; "
        "regret: the first plan's step over the fastest of the five.\n\n"
        "| speeds | m | measured steps of plans 1 to 5, s | regret |\n|---|---|---|---|\n");
  std::vector<double> regrets;
  const std::vector<std::pair<std::vector<double>, int64_t>> cases = {
      {{1, 2, 4, 8}, 4}, {{1, 2, 4, 8}, 8}, {{1, 1, 1, 8}, 4}, {{1, 1, 1, 8}, 8},
      {{1, 1, 4, 4}, 4}, {{2, 2, 3, 3}, 4}, {{1, 3, 5, 7}, 4}, {{4, 4, 4, 5}, 4},
      {{1, 1, 1, 1}, 4}, {{8, 8, 1, 2}, 4}};
  for (const auto& [speeds, m] : cases) {
    const Recipe recipe = recipe_of(m);
    const Imitation imitation = imitated(speeds);
    const ClusterProfile cluster = measured_cluster(recipe, world, &imitation);
    PlanOptions options;
    options.runners_up = 4;
    const PlanResult planned = make_plan(CostModel(recipe, cluster), options);
    std::vector<double> seconds;
    for (const Candidate& candidate : planned.finalists)
      seconds.push_back(median_step(recipe, candidate.plan, imitation, world, kSteps));
    const double over = seconds.front() / *std::min_element(seconds.begin(), seconds.end()) - 1;
    regrets.push_back(over);
    if (world.rank() != 0) continue;
    std::string names, steps;
    for (const double speed : speeds)
      names += fmt::format("{}{:g}", names.empty() ? "" : ":", speed);
    for (const double step : seconds)
      steps += fmt::format("{}{:.3f}", steps.empty() ? "" : ", ", step);
    fmt::print("| {} | {} | {} | {:.1f} % |\n", names, m, steps, 100 * over);
    std::fflush(stdout);
  }
  if (world.rank() == 0)
    fmt::print("\nWorst regret {:.1f} %, median {:.1f} %.\n",
               100 * *std::max_element(regrets.begin(), regrets.end()), 100 * median_of(regrets));
}

int run(int, char**) {
  prepare_process();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  if (world->size() != 4) throw UsageError("start it with mpirun -n 4");
  if (world->rank() == 0)
    fmt::print(
        "# C6: unequal ranks, planned from the measured profile alone\n\n"
        "`mpirun -n 4 build/cpu/bin/c6_unequal`. Waiting stages: 24 blocks, a grain's block takes "
        "6 ms at speed 1; k grains at once take 0.1 + 0.9 k of one's time; hidden noise of +-5 % a "
        "layer's pass. A step has m micro-batches of 4 grains. eta: tokens/s over the sum of the "
        "four devices alone, each at its best micro-batch size. Plans are replicas of ranks: "
        "`0+1 x9` is a pipeline of ranks 0 and 1 with 9 grains. Steps are medians of {}.\n\n"
        "| speeds | m | kente's plan | step, s | predicted, s | off | eta | eta, equal layers | "
        "eta, "
        "layers by speed | eta, equal shares | planning, s "
        "|\n|---|---|---|---|---|---|---|---|---|---|"
        "---|\n",
        kSteps);
  std::vector<double> errors;
  for (const std::vector<double>& speeds :
       {std::vector<double>{1, 2, 4, 8}, std::vector<double>{1, 1, 1, 8}})
    for (const int64_t m : {4, 8, 16, 32}) measure(*world, speeds, m, errors);
  if (world->rank() == 0)
    fmt::print("\nPredicted against measured step: median error {:.1f} %, worst {:.1f} %.\n",
               100 * median_of(errors), 100 * *std::max_element(errors.begin(), errors.end()));
  regret(*world);
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("c6_unequal", kente::run, argc, argv);
}
