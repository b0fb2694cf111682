#include "launch/memory_advice.h"

#include <fmt/format.h>

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/config/parse.h"
#include "csrc/plan/memory.h"
#include "csrc/plan/mesh.h"

namespace kente {
namespace {

double mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

int64_t peak(const Recipe& recipe, const Plan& plan, int rank) {
  int ranks = 0;
  for (const ReplicaPlan& replica : plan.replicas)
    for (const StagePlan& stage : replica.stages)
      for (const int at : stage.ranks) ranks = std::max(ranks, at + 1);
  const std::vector<int64_t> peaks =
      predict_peak_bytes(recipe, plan, make_mesh(recipe, plan, ranks));
  return peaks.at(static_cast<size_t>(rank));
}

/// The rank's replica and stage.
std::pair<ReplicaPlan*, StagePlan*> place_of(Plan& plan, int rank) {
  for (ReplicaPlan& replica : plan.replicas)
    for (StagePlan& stage : replica.stages)
      if (std::find(stage.ranks.begin(), stage.ranks.end(), rank) != stage.ranks.end())
        return {&replica, &stage};
  throw UsageError("rank " + std::to_string(rank) + " has no work by its plan");
}

}  // namespace

std::string memory_advice(const Recipe& recipe, const Plan& plan, int rank) {
  Plan smaller = plan;
  const auto [replica, stage] = place_of(smaller, rank);
  const int64_t now = peak(recipe, plan, rank);
  std::string text = fmt::format("its plan wants {:.0f} MiB of it", mebibytes(now));
  const int64_t grains = replica->grains_per_micro_batch;
  if (grains > 1) {
    replica->grains_per_micro_batch = 1;
    text += fmt::format("; grains_per_micro_batch: 1 in place of {} wants {:.0f} MiB", grains,
                        mebibytes(peak(recipe, smaller, rank)));
  }
  if (stage->recompute == Recompute::kNone) {
    stage->recompute = Recompute::kFull;
    text += fmt::format("; {}recompute: FULL {:.0f} MiB", grains > 1 ? "and with " : "with ",
                        mebibytes(peak(recipe, smaller, rank)));
  }
  return text + "; kente plan finds one that fits what is free";
}

std::string memory_advice(const std::string& run_directory, int rank) {
  try {
    const Recipe recipe = load_recipe(run_directory + "/recipe.textproto");
    return memory_advice(recipe, load_plan(run_directory + "/plan.textproto", recipe), rank);
  } catch (const Error&) {
    return "";  // the failure itself is told all the same
  }
}

}  // namespace kente
