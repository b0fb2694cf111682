// C5: schedules on waiting stages, measured against the simulator and the closed formula.
//
//   mpirun -n 8 --oversubscribe build/cpu/bin/c5_schedules > benchmarks/results/c5_schedules.md
//
// Pipelines of 4 and of 8 ranks, each of which holds one block and waits 12 ms for each of its
// three passes of a micro-batch, or up to twice as long where stages are uneven; the model itself
// is tiny.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

#include "benchmarks/trainee.h"
#include "comm/mpi.h"
#include "csrc/base/errors.h"
#include "csrc/plan/schedule.h"
#include "csrc/plan/simulate.h"
#include "csrc/train/prepare_process.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr int kSteps = 3;
constexpr double kPass = 12e-3;
/// Of embedding and head, which a first and a last stage have besides.
constexpr double kNext = 1e-6;

/// How fast each stage is.
std::vector<double> speeds_of(int stages, bool even) {
  constexpr double kUneven[] = {1, 0.7, 0.9, 0.55, 0.8, 1, 0.6, 0.75};
  std::vector<double> speeds(static_cast<size_t>(stages), 1);
  if (!even) std::copy_n(std::begin(kUneven), stages, speeds.begin());
  return speeds;
}

Imitation imitated(const std::vector<double>& speeds) {
  Imitation imitation;
  for (const double speed : speeds) {
    ImitatedRank rank;
    rank.waits = true;
    rank.speed = speed;
    rank.embedding = rank.head = {
        .forward = kNext, .loss = 0, .backward_input = kNext, .backward_weight = kNext};
    rank.block = {.forward = kPass, .loss = 0, .backward_input = kPass, .backward_weight = kPass};
    imitation.ranks.push_back(rank);
  }
  return imitation;
}

struct Case {
  const char* name;
  ScheduleKind kind;
  int64_t under_way;  // 0: what the kind has
};

Plan pipeline_plan(const std::vector<double>& speeds, int64_t micro_batches, const Case& tried) {
  Plan plan;
  plan.schedule = tried.kind;
  ReplicaPlan& replica = plan.replicas.emplace_back();
  replica.share = micro_batches;
  replica.under_way = tried.under_way;
  const int last = static_cast<int>(speeds.size()) - 1;
  for (int rank = 0; rank <= last; ++rank) {
    StagePlan& stage = replica.stages.emplace_back();
    stage.ranks = {rank};
    stage.layers = {{.first = rank == 0 ? 0 : rank + 1, .last = rank + (rank == last ? 2 : 1)}};
    const auto pass = static_cast<int64_t>(1e6 * kPass / speeds[static_cast<size_t>(rank)]);
    if (tried.kind == ScheduleKind::kZeroBubble)
      stage.times = {
          .forward = pass, .backward_input = pass, .backward_weight = pass, .message = 0};
  }
  return plan;
}

/// With messages that take no time.
double simulated_seconds(const Recipe& recipe, const Plan& plan,
                         const std::vector<double>& speeds) {
  const Mesh mesh = make_mesh(recipe, plan, static_cast<int>(speeds.size()));
  ActionCosts costs;
  costs.seconds = [&](int rank, const Action& action) {
    const bool computes = action.kind == ActionKind::kForward ||
                          action.kind == ActionKind::kBackwardInput ||
                          action.kind == ActionKind::kBackwardWeight;
    return computes ? kPass / speeds[static_cast<size_t>(rank)] : 0.0;
  };
  return simulate(mesh, make_schedule(mesh, plan.schedule), costs, SendMode::kBuffered).seconds;
}

/// Even stages: (m + p - 1) micro-batches' time under GPipe; 1F1B's bubble without the backward for
/// weights, which comes after the gradient was sent; ZB-H1's and ZB-H2's.   Qi et al. 2023,
/// table 2.
double formula_seconds(int p, int64_t m, const Case& tried) {
  const double bubble = tried.kind == ScheduleKind::kZeroBubble ? 1 : 2;  // passes a stage
  return (3 * static_cast<double>(m) + bubble * (p - 1)) * kPass;
}

void measure(Communicator& pipeline, int64_t m, bool even, std::vector<double>& errors) {
  const int p = pipeline.size();
  const std::vector<double> speeds = speeds_of(p, even);
  const Recipe recipe = tiny_shape(p, m);
  const Imitation imitation = imitated(speeds);
  const double slowest = *std::min_element(speeds.begin(), speeds.end());
  const double work = 3 * static_cast<double>(m) * kPass / slowest;
  for (const Case& tried :
       {Case{"GPipe", ScheduleKind::kGPipe, 0}, Case{"1F1B", ScheduleKind::k1F1B, 0},
        Case{"zero-bubble, p under way", ScheduleKind::kZeroBubble, p},
        Case{"zero-bubble, 2p - 1", ScheduleKind::kZeroBubble, 2 * p - 1}}) {
    const Plan plan = pipeline_plan(speeds, m, tried);
    const double simulated = simulated_seconds(recipe, plan, speeds);
    const double measured = median_step(recipe, plan, imitation, pipeline, kSteps);
    errors.push_back(std::abs(measured / simulated - 1));
    if (pipeline.rank() != 0) continue;
    fmt::print("| {} | {} | {} | {} | {:.3f} | {:.3f} | {:+.1f} % | {} | {:.1f} % |\n", p,
               even ? "even" : "uneven", m, tried.name, measured, simulated,
               100 * (measured / simulated - 1),
               even ? fmt::format("{:.3f}", formula_seconds(p, m, tried)) : "",
               100 * (measured / work - 1));
    std::fflush(stdout);
  }
}

int run(int, char**) {
  prepare_process();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  if (world->size() != 8) throw UsageError("start it with mpirun -n 8");
  if (world->rank() == 0)
    fmt::print(
        "# C5: schedules on waiting stages\n\n"
        "`mpirun -n 8 --oversubscribe build/cpu/bin/c5_schedules`. Each rank holds one block and "
        "waits {:g} ms for each of its three passes; uneven: stages down to 0.55 times as fast. "
        "Simulated: with these times and free messages. Formula: even stages alone. Over the "
        "slowest: what the step took beyond the slowest stage's own work. Medians of {} steps.\n\n"
        "| p | stages | m | schedule | measured, s | simulated, s | off | formula, s | over the "
        "slowest |\n|---|---|---|---|---|---|---|---|---|\n",
        1e3 * kPass, kSteps);
  std::vector<double> errors;
  for (const int p : {4, 8}) {
    const auto pipeline = world->split(world->rank() < p ? 0 : 1, world->rank());
    for (const bool even : {true, false})
      for (const int64_t m : {8, 16, 32, 64})
        if (world->rank() < p) measure(*pipeline, m, even, errors);
    world->barrier(Deadline::after_seconds(600));
  }
  if (world->rank() == 0)
    fmt::print("\nMeasured against simulated: median error {:.1f} %, worst {:.1f} %.\n",
               100 * median_of(errors), 100 * *std::max_element(errors.begin(), errors.end()));
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("c5_schedules", kente::run, argc, argv);
}
