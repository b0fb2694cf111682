/// C7: the planner against a brute force over all plans of small random problems, and its wall time
/// for thousands of devices. Prints the tables of benchmarks/results/c7_planner.md.
#include <fmt/format.h>

#include <algorithm>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/plan/describe_choice.h"
#include "csrc/plan/planner.h"
#include "launch/program.h"
#include "tests/support/brute_force_plans.h"
#include "tests/support/random_clusters.h"

namespace kente {
namespace {

constexpr uint64_t kCases = 500;
constexpr int kRepeats = 5;

template <typename Value>
Value median(std::vector<Value> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void small_cases() {
  std::vector<double> gaps, planned;
  std::vector<int64_t> plans;
  int64_t all_plans = 0;
  int nothing_fits = 0, wrong = 0;
  double brute_seconds = 0;
  const PlanOptions options{.sharding = Sharding::kNever, .runners_up = 0};
  for (uint64_t seed = 0; seed < kCases; ++seed) {
    const PlanningCase made = random_small_case(seed);
    const CostModel model(made.recipe, made.cluster);
    int64_t begin = now_ns();
    const BruteForce truth = brute_force(model, options.memory_use);
    brute_seconds += seconds_since(begin);
    begin = now_ns();
    const PlanResult result = make_plan(model, options);
    planned.push_back(seconds_since(begin));
    all_plans += truth.plans;
    if (result.finalists.empty() || !truth.best) {
      nothing_fits += !truth.best;
      wrong += result.finalists.empty() != !truth.best;
      continue;
    }
    plans.push_back(truth.plans);
    gaps.push_back(result.finalists.front().value / truth.seconds - 1);
  }
  fmt::print(
      "## {} random small cases against all plans\n\n"
      "| cases with a plan | where nothing fits, both say so | plans a case, median (all) | worst "
      "gap "
      "| median gap | brute force | planner, median (worst) |\n|---|---|---|---|---|---|---|\n"
      "| {} | {} of {} | {} ({}) | {:.4f} % | {:.4f} % | {:.1f} s | {:.2f} ms ({:.1f} ms) |\n\n",
      kCases, gaps.size(), nothing_fits - wrong, nothing_fits, median(plans), all_plans,
      100 * *std::max_element(gaps.begin(), gaps.end()), 100 * median(gaps), brute_seconds,
      1e3 * median(planned), 1e3 * *std::max_element(planned.begin(), planned.end()));
}

void large_case_row(int64_t devices, int64_t blocks, int64_t grains) {
  const PlanningCase made = large_case(devices, blocks, grains);
  const CostModel model(made.recipe, made.cluster);
  std::vector<double> walls;
  PlanResult result;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const int64_t begin = now_ns();
    result = make_plan(model, {});
    walls.push_back(seconds_since(begin));
  }
  const Candidate& winner = result.finalists.front();
  size_t used = 0;
  for (const ReplicaPlan& replica : winner.plan.replicas) used += replica.stages.size();
  fmt::print(
      "| {} | {} | {} | {:.1f} s ({:.1f} .. {:.1f}) | {} | {} | {:.2f} s | {:.0f} % | {:.0f} % |\n",
      devices, blocks, grains, median(walls), *std::min_element(walls.begin(), walls.end()),
      *std::max_element(walls.begin(), walls.end()), winner.plan.replicas.size(), used,
      winner.cost.step_seconds, 100 * winner.cost.bubble, 100 * efficiency_of(model, winner.cost));
}

int run(int, char**) {
  small_cases();
  fmt::print(
      "## Thousands of devices of 8 kinds\n\n"
      "| devices | blocks | grains a step | wall time, median of {} (min .. max) | pipelines | "
      "ranks "
      "used | predicted step | bubble | eta |\n|---|---|---|---|---|---|---|---|---|\n",
      kRepeats);
  for (const int64_t devices : {1000, 10000})
    for (const int64_t blocks : {32, 80})
      large_case_row(devices, blocks, devices == 1000 ? 4096 : 16384);
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("c7_planner", kente::run, argc, argv);
}
