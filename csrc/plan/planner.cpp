#include "csrc/plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/config/parse.h"
#include "csrc/plan/layout_search.h"
#include "csrc/plan/nothing_fits.h"
#include "csrc/plan/shard_choice.h"
#include "csrc/plan/why_not.h"

namespace kente {
namespace {

/// Clusters up to this many ranks are also planned as if memory were free, to say what it costs.
constexpr int kMostRanksTwice = 16;

void check_objective(const ClusterProfile& cluster, Objective objective) {
  for (const DeviceProfile& device : cluster.devices) {
    const char* missing = nullptr;
    if (objective == Objective::kEnergy && !device.idle_watts) missing = "idle_watts";
    if (objective == Objective::kEnergy && !device.busy_watts) missing = "busy_watts";
    if (objective == Objective::kMoney && !device.price_per_hour) missing = "price_per_hour";
    if (missing)
      throw UsageError(
          fmt::format("the profile's device \"{}\" has no {}: write it into the "
                      "profile, or plan with --objective time",
                      device.id, missing));
  }
}

double value_of(const PlanCost& cost, Objective objective) {
  if (objective == Objective::kEnergy) return cost.joules.value_or(0);
  if (objective == Objective::kMoney) return cost.price.value_or(0);
  return cost.step_seconds;
}

/// The finalists as plans, predicted in full, best first.
std::vector<Candidate> candidates(const CostModel& model, const std::vector<Trial>& trials,
                                  Objective objective) {
  std::vector<Candidate> found;
  for (const Trial& trial : trials) {
    Candidate candidate;
    candidate.plan = plan_of(trial, model);
    candidate.cost = predict(model, candidate.plan, Timeline::kLeftOut);
    candidate.value = value_of(candidate.cost, objective);
    candidate.plan.prediction = prediction_of(candidate.cost);
    found.push_back(std::move(candidate));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.value < b.value; });
  return found;
}

/// More ranks than this are searched quickly, and only the finalists looked at thoroughly.
constexpr int kMostThorough = 64;

/// Of many ranks: what was found quickly, thoroughly. A zero-bubble schedule takes longest to lay
/// out: it is tried with the pipelines that are best without it.
void look_again(const CostModel& model, const PlanOptions& options, const RankKinds& kinds,
                const Finalists& first, PipelineCatalogue& thorough, Finalists& finalists) {
  std::vector<ScheduleKind> schedules = options.schedules;
  std::erase(schedules, ScheduleKind::kZeroBubble);
  if (schedules.empty()) schedules = options.schedules;
  LayoutScorer scorer(model, kinds, thorough, options.objective);
  for (const Trial& trial : first.ranked())
    for (const ScheduleKind schedule : schedules)
      if (std::optional<Trial> again =
              scorer.best(trial.layout, schedule, std::numeric_limits<double>::infinity()))
        finalists.offer(std::move(*again));
  if (schedules == options.schedules) return;  // zero-bubble is not asked for, or alone
  for (const Trial& trial : finalists.ranked())
    if (std::optional<Trial> again = scorer.rescheduled(trial, ScheduleKind::kZeroBubble))
      finalists.offer(std::move(*again));
}

std::vector<Candidate> search(const CostModel& model, const PlanOptions& options, int64_t& runs) {
  const RankKinds kinds(model.ranks());
  const bool quick = model.ranks().num_ranks() > kMostThorough;
  PipelineCatalogue thorough(model, options.memory_use, Effort::kThorough);
  Finalists finalists(options.runners_up + 1);
  if (!quick) {
    search_layouts(model, options, kinds, thorough, finalists);
  } else {
    PipelineCatalogue catalogue(model, options.memory_use, Effort::kQuick);
    Finalists first(options.runners_up + 1);
    search_layouts(model, options, kinds, catalogue, first);
    runs += catalogue.runner().runs();
    look_again(model, options, kinds, first, thorough, finalists);
  }
  runs += thorough.runner().runs();
  return candidates(model, finalists.ranked(), options.objective);
}

/// Whether a plan of this value is worth more than the best so far.
bool is_better(double value, const PlanResult& result) {
  return result.finalists.empty() || value < result.finalists.front().value * (1 - 1e-6);
}

/// The best plan if memory were free, when it would be better.
void add_too_big(const CostModel& model, const PlanOptions& options, PlanResult& result) {
  PlanOptions free = options;
  free.memory_use = std::numeric_limits<double>::infinity();
  free.runners_up = 0;
  for (Candidate& candidate : search(model, free, result.runs)) {
    const Candidate& winner = result.finalists.front();
    if (!is_better(candidate.value, result)) continue;
    candidate.why_not = why_not(model, candidate, winner, options);
    result.too_big.push_back(std::move(candidate));
  }
}

/// Better plans that fit once the optimizer state is sharded: searched as if every rank had what
/// two, or four, equal holders of the whole model would save.
void add_sharded(const CostModel& model, const PlanOptions& options, PlanResult& result) {
  constexpr int64_t kMomentBytes = 8;
  int64_t moments = 0;
  for (const ParamGroup& group : model.layout()) moments += kMomentBytes * group.size;
  for (const double saved : {0.5, 0.75}) {
    ClusterProfile roomier = model.cluster();
    for (DeviceProfile& device : roomier.devices)
      device.memory_bytes +=
          static_cast<int64_t>(saved * static_cast<double>(moments) / options.memory_use);
    const CostModel with_room(model.recipe(), roomier, model.state_copies());
    for (Candidate& candidate : search(with_room, options, result.runs)) {
      if (!is_better(candidate.value, result)) continue;
      const std::optional<Plan> sharded =
          shard_by_free_memory(model, candidate.plan, options.memory_use);
      if (!sharded) continue;
      candidate.plan = *sharded;
      candidate.cost = predict(model, candidate.plan, Timeline::kLeftOut);
      candidate.value = value_of(candidate.cost, options.objective);
      candidate.plan.prediction = prediction_of(candidate.cost);
      if (is_better(candidate.value, result))
        result.finalists.insert(result.finalists.begin(), std::move(candidate));
    }
  }
  const auto most = static_cast<size_t>(options.runners_up) + 1;
  if (result.finalists.size() > most) result.finalists.resize(most);
}

}  // namespace

PlanResult make_plan(const CostModel& model, const PlanOptions& options) {
  KENTE_CHECK(!options.schedules.empty(), "a plan without a schedule");
  check_objective(model.cluster(), options.objective);
  PlanResult result;
  result.finalists = search(model, options, result.runs);
  const bool few = model.ranks().num_ranks() <= kMostRanksTwice;
  if (few && options.sharding == Sharding::kAllowed) add_sharded(model, options, result);
  if (result.finalists.empty()) {
    result.nothing_fits = why_nothing_fits(model, options);
    return result;
  }
  for (size_t i = 1; i < result.finalists.size(); ++i)
    result.finalists[i].why_not =
        why_not(model, result.finalists[i], result.finalists.front(), options);
  if (few && options.runners_up > 0) add_too_big(model, options, result);
  // What is written must be what is read: the parser checks every promise of a plan file.
  const Plan& winner = result.finalists.front().plan;
  KENTE_CHECK(parse_plan(to_text(winner), "plan", model.recipe()) == winner, "plan text differs");
  return result;
}

}  // namespace kente
