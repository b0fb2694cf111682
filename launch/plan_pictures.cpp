#include "launch/plan_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "csrc/config/parse.h"
#include "csrc/plan/describe_choice.h"
#include "csrc/plan/plan_words.h"
#include "csrc/report/number_text.h"
#include "csrc/report/plan_page.h"

namespace kente {
namespace {

/// Ranks that are drawn; beyond, one pipeline of each kind.
constexpr size_t kMostDrawn = 64;

/// Replicas worth a track: all, or the first of each (devices, share).
std::vector<size_t> drawn_replicas(const CostModel& model, const Plan& plan) {
  size_t ranks = 0;
  for (const ReplicaPlan& replica : plan.replicas) ranks += replica.stages.size();
  std::vector<size_t> drawn;
  std::set<std::vector<int64_t>> seen;
  size_t tracks = 0;
  for (size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaPlan& replica = plan.replicas[r];
    std::vector<int64_t> kind = {replica.share, replica.grains_per_micro_batch};
    for (const StagePlan& stage : replica.stages)
      kind.push_back(model.ranks().device_of(stage.ranks.front()));
    if (ranks > kMostDrawn && !seen.insert(kind).second) continue;
    if (!drawn.empty() && tracks + replica.stages.size() > kMostDrawn) continue;
    tracks += replica.stages.size();
    drawn.push_back(r);
  }
  return drawn;
}

TimelineSpan span_of(const TimelineEntry& entry, TimelineSpan::Kind kind, double begin,
                     double end) {
  return {.rank = entry.rank,
          .label = to_string(entry.action),
          .kind = kind,
          .begin = begin,
          .end = end};
}

/// What each drawn rank does when. A collective's entry is waiting first, then work.
std::vector<TimelineSpan> spans_of(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  const Mesh mesh = make_mesh(model.recipe(), plan, model.ranks().num_ranks(), model.layout());
  const ActionCosts costs = model.costs(plan, mesh);
  std::vector<bool> drawn(static_cast<size_t>(mesh.num_ranks), false);
  for (const size_t r : drawn_replicas(model, plan))
    for (const StagePlan& stage : plan.replicas[r].stages)
      drawn[static_cast<size_t>(stage.ranks.front())] = true;
  std::vector<TimelineSpan> spans;
  for (const TimelineEntry& entry : cost.timeline) {
    if (!drawn[static_cast<size_t>(entry.rank)] || entry.end <= entry.begin) continue;
    const ActionKind kind = entry.action.kind;
    if (kind != ActionKind::kReduceBucket && kind != ActionKind::kStep) {
      const bool message = kind == ActionKind::kRecvActivation || kind == ActionKind::kRecvGradient;
      spans.push_back(span_of(entry, message ? TimelineSpan::kWait : TimelineSpan::kCompute,
                              entry.begin, entry.end));
      continue;
    }
    const double work = std::max(entry.begin, entry.end - costs.seconds(entry.rank, entry.action));
    if (work > entry.begin) spans.push_back(span_of(entry, TimelineSpan::kWait, entry.begin, work));
    if (entry.end > work)
      spans.push_back(
          span_of(entry, kind == ActionKind::kStep ? TimelineSpan::kCompute : TimelineSpan::kComm,
                  work, entry.end));
  }
  return spans;
}

std::vector<Environment::Replica> mesh_of(const CostModel& model, const Plan& plan) {
  std::vector<Environment::Replica> mesh;
  for (const size_t r : drawn_replicas(model, plan)) {
    const ReplicaPlan& replica = plan.replicas[r];
    Environment::Replica& drawn = mesh.emplace_back();
    drawn.share = replica.share;
    drawn.micro_batches =
        (replica.share + replica.grains_per_micro_batch - 1) / replica.grains_per_micro_batch;
    for (const StagePlan& stage : replica.stages) {
      Environment::Stage& box = drawn.stages.emplace_back();
      box.rank = stage.ranks.front();
      box.dtype = device_name(model, stage.ranks.front());
      box.recompute = stage.recompute == Recompute::kFull ? "full" : "none";
      for (const LayerRange& range : stage.layers) box.layers.emplace_back(range.first, range.last);
    }
  }
  return mesh;
}

PlanPage::Table memory_table(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  PlanPage::Table table{.title = "Memory against limits",
                        .note = "Predicted peak of each rank that is drawn above.",
                        .header = {"rank", "device", "parameters", "gradients", "optimizer",
                                   "activations", "snapshots", "other", "all", "free"},
                        .rows = {}};
  for (const size_t r : drawn_replicas(model, plan))
    for (const StagePlan& stage : plan.replicas[r].stages) {
      const auto rank = static_cast<size_t>(stage.ranks.front());
      const MemoryPrediction& memory = cost.memory[rank];
      table.rows.push_back({std::to_string(rank), device_name(model, stage.ranks.front()),
                            bytes_words(memory.parameters), bytes_words(memory.gradients),
                            bytes_words(memory.optimizer), bytes_words(memory.activations),
                            bytes_words(memory.snapshots),
                            bytes_words(memory.transient + memory.process),
                            bytes_words(memory.total()), bytes_words(cost.free_bytes[rank])});
    }
  return table;
}

PlanPage::Table runners_up_table(const CostModel& model, const PlanResult& result,
                                 Objective objective) {
  PlanPage::Table table{.title = "Runners-up",
                        .note = "Other plans that were simulated, and why they lost.",
                        .header = {"value", "why not", "devices and how many layers they hold"},
                        .rows = {}};
  for (const std::vector<Candidate>* const list : {&result.finalists, &result.too_big})
    for (const Candidate& candidate : *list)
      if (!candidate.why_not.empty())
        table.rows.push_back({value_words(candidate.value, objective), candidate.why_not,
                              shape_of(model, candidate.plan, 120)});
  return table;
}

}  // namespace

std::string plan_trace(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  using Json = nlohmann::ordered_json;
  Json events = Json::array();
  std::set<int> named;
  constexpr const char* kKinds[] = {"compute", "wait", "communication"};
  for (const TimelineSpan& span : spans_of(model, plan, cost)) {
    if (named.insert(span.rank).second)
      events.push_back(
          {{"ph", "M"},
           {"name", "thread_name"},
           {"pid", 0},
           {"tid", span.rank},
           {"args",
            {{"name", fmt::format("rank {} ({})", span.rank, device_name(model, span.rank))}}}});
    events.push_back({{"ph", "X"},
                      {"name", span.label},
                      {"cat", kKinds[span.kind]},
                      {"pid", 0},
                      {"tid", span.rank},
                      {"ts", span.begin * 1e6},
                      {"dur", (span.end - span.begin) * 1e6}});
  }
  const Json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", events}};
  return trace.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string plan_picture(const CostModel& model, const PlanResult& result, Objective objective) {
  const Candidate& winner = result.finalists.front();
  const PlanCost& cost = winner.cost;
  const Recipe& recipe = model.recipe();
  const double tokens = static_cast<double>(recipe.global_batch_tokens);
  PlanPage page;
  page.title = "A plan for " + recipe.name;
  page.subtitle = "Bottleneck: " + cost.bottleneck;
  page.tiles = {{"step", seconds_words(cost.step_seconds), "predicted"},
                {"tokens a second", count_text(tokens / cost.step_seconds),
                 count_text(tokens) + " tokens a step"},
                {"bubble", fmt::format("{:.0f} %", 100 * cost.bubble), "idle part of the step"},
                {"efficiency", fmt::format("{:.0f} %", 100 * efficiency_of(model, cost)),
                 "of all devices, each alone"}};
  if (cost.joules)
    page.tiles.push_back({"energy", fmt::format("{:.4g} J", *cost.joules), "a step"});
  if (cost.price) page.tiles.push_back({"price", fmt::format("{:.4g}", *cost.price), "a step"});
  page.mesh = mesh_of(model, winner.plan);
  page.mesh_note = "Who holds which layers; under them the device.";
  if (page.mesh.size() < winner.plan.replicas.size())
    page.mesh_note += fmt::format(" {} pipelines of {}: one of each kind.", page.mesh.size(),
                                  winner.plan.replicas.size());
  page.timeline = spans_of(model, winner.plan, cost);
  page.timeline_note = "What the event simulator expects; grey is waiting.";
  page.tables = {memory_table(model, winner.plan, cost)};
  if (result.finalists.size() > 1)
    page.tables.push_back(runners_up_table(model, result, objective));
  page.plan_text = to_text(winner.plan);
  return plan_page_html(page);
}

}  // namespace kente
