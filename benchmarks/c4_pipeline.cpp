// C4: how much a real pipeline loses against what its schedule allows, and against as many
// independent ranks.
//
//   mpirun -n 2 --bind-to core build/cpu/bin/c4_pipeline > benchmarks/results/c4_pipeline.md
//
// 6.9M GPT-2 shape (V 8192, T 256, D 256, L 6, H 8), fp32, micro-batches of 1 x 256 tokens, m
// micro-batches a step, one thread a rank. In each of the pairs a pipelined step and an independent
// step (every rank trains the whole model alone) take turns, so that both meet the same noise.
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "benchmarks/trainee.h"
#include "comm/local.h"
#include "comm/mpi.h"
#include "csrc/base/clock.h"
#include "csrc/plan/simulate.h"
#include "csrc/train/gather.h"
#include "csrc/train/prepare_process.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr int kPairs = 7;
constexpr int kWarmUp = 1;

/// The schedule's own time for the compute times of one recorded step: no communication, no waiting
/// but for the pipeline.
double ideal_seconds(const Trainee& trainee, Communicator& world,
                     const std::vector<TimelineSpan>& mine) {
  std::map<std::pair<int, std::string>, double> compute;
  for (const std::string& text : all_gather_text(world, to_json(mine), Deadline::after_seconds(60)))
    for (const TimelineSpan& span : parse_timeline(text, "a rank's timeline")) {
      if (span.kind == TimelineSpan::kCompute)
        compute[{span.rank, span.label}] += span.end - span.begin;
    }
  ActionCosts costs;
  costs.seconds = [&](int rank, const Action& action) {
    const auto found = compute.find({rank, to_string(action)});
    return found == compute.end() ? 0.0 : found->second;
  };
  costs.transfer_seconds = [](int, int, const Action&) { return 0.0; };
  costs.kept_bytes = [](int, const Action&) { return int64_t{0}; };
  return simulate(trainee.mesh(), make_schedule(trainee.mesh(), trainee.plan().schedule), costs,
                  SendMode::kBuffered)
      .seconds;
}

/// What each stage's passes took in a few steps, for a schedule laid out from that.
std::vector<PassTimes> measured_times(const Recipe& recipe, const Plan& plan, Communicator& world) {
  Trainee trainee(recipe, plan, world);
  trainee.run();
  trainee.runner().clock().record_spans(true);
  for (int step = 0; step < kPairs; ++step) trainee.run();
  trainee.runner().clock().record_spans(false);
  std::vector<PassTimes> times(static_cast<size_t>(world.size()));
  const std::string mine = to_json(trainee.runner().clock().take_spans());
  for (const std::string& text : all_gather_text(world, mine, Deadline::after_seconds(60)))
    for (const TimelineSpan& span : parse_timeline(text, "a rank's timeline")) {
      PassTimes& stage = times[static_cast<size_t>(span.rank)];
      const auto microseconds = static_cast<int64_t>(1e6 * (span.end - span.begin) / kPairs);
      if (span.label.starts_with("F") || span.label.starts_with("L")) stage.forward += microseconds;
      if (span.label.starts_with("BI")) stage.backward_input += microseconds;
      if (span.label.starts_with("BW")) stage.backward_weight += microseconds;
    }
  return times;
}

void measure(Communicator& world, int64_t micro_batches, ScheduleKind kind) {
  const Recipe recipe = shape_6_9m(micro_batches);
  Plan plan = even_plan(recipe, world.size(), world.size());
  for (ReplicaPlan& replica : plan.replicas) replica.grains_per_micro_batch = 1;
  if (kind == ScheduleKind::kZeroBubble) {
    const std::vector<PassTimes> times = measured_times(recipe, plan, world);
    ReplicaPlan& replica = plan.replicas.front();
    for (size_t i = 0; i < times.size(); ++i) replica.stages[i].times = times[i];
  }
  plan.schedule = kind;
  Trainee pipeline(recipe, plan, world);
  const auto alone = make_single();
  Plan single_plan = even_plan(recipe, 1, 1);
  single_plan.replicas[0].grains_per_micro_batch = 1;
  Trainee independent(recipe, single_plan, *alone);
  std::vector<double> overhead, share;
  for (int pair = -kWarmUp; pair < kPairs; ++pair) {
    world.barrier(Deadline::after_seconds(60));
    pipeline.runner().clock().record_spans(true);
    const double piped = max_over_ranks(world, pipeline.run());
    pipeline.runner().clock().record_spans(false);
    const double ideal = ideal_seconds(pipeline, world, pipeline.runner().clock().take_spans());
    world.barrier(Deadline::after_seconds(60));
    // size() independent ranks do size() steps' work in this time.
    const double single = max_over_ranks(world, independent.run()) / world.size();
    if (pair < 0) continue;
    overhead.push_back(piped / ideal - 1);
    share.push_back(single / piped);
  }
  if (world.rank() != 0) return;
  std::string split;
  for (const StagePlan& stage : plan.replicas[0].stages)
    split += fmt::format("{}{}-{}", split.empty() ? "" : " + ", stage.layers[0].first,
                         stage.layers[0].last);
  const auto [low, high] = std::minmax_element(overhead.begin(), overhead.end());
  fmt::print("| {} | {} | {} | {:.1f} % | {:.1f} .. {:.1f} % | {:.1f} % |\n", name_of(kind),
             micro_batches, split, 100 * median_of(overhead), 100 * *low, 100 * *high,
             100 * median_of(share));
  std::fflush(stdout);
}

int run(int, char**) {
  prepare_process();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  if (world->rank() == 0)
    fmt::print(
        "# C4: a real pipeline against its schedule\n\n"
        "`mpirun -n {} --bind-to core build/cpu/bin/c4_pipeline`, libtorch {}, fp32, one thread a "
        "rank, {} pairs.\n"
        "6.9M GPT-2 shape, micro-batches of 1 x 256 tokens. Overhead: measured step over the "
        "schedule simulated with "
        "the compute times of that very step and free communication. Share: of the throughput of "
        "{} independent ranks "
        "that train the whole model alone, steps taking turns with the pipeline's.\n\n"
        "| schedule | m | layers | overhead, median | min .. max | share of independent ranks |\n"
        "|---|---|---|---|---|---|\n",
        world->size(), TORCH_VERSION, kPairs, world->size());
  for (const ScheduleKind kind :
       {ScheduleKind::kZeroBubble, ScheduleKind::k1F1B, ScheduleKind::kGPipe})
    for (const int64_t m : {1, 2, 4, 8, 16}) measure(*world, m, kind);
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("c4_pipeline", kente::run, argc, argv);
}
