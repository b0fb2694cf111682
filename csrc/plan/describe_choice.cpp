#include "csrc/plan/describe_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "csrc/config/model_layout.h"
#include "csrc/plan/plan_words.h"

namespace kente {
namespace {

constexpr int kRowsOfRanks = 32;
constexpr size_t kMostColumns = 100;

using Row = std::vector<std::string>;

/// Columns two spaces apart; words to the left, the rest to the right. Nothing beyond kMostColumns.
std::string table(const std::vector<Row>& rows, const std::vector<size_t>& words) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const bool left = std::count(words.begin(), words.end(), c) > 0;
      line += left ? fmt::format("  {:<{}}", row[c], widths[c])
                   : fmt::format("  {:>{}}", row[c], widths[c]);
    }
    line.resize(std::min(line.size(), kMostColumns));
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string cut(const std::string& text, size_t width) {
  return text.size() <= width ? text : text.substr(0, width - 2) + "..";
}

std::string batches_words(const ReplicaPlan& replica) {
  const int64_t size = replica.grains_per_micro_batch;
  const int64_t whole = replica.share / size, rest = replica.share % size;
  return fmt::format("{} x {}", whole, size) + (rest > 0 ? fmt::format(" + {}", rest) : "");
}

/// "331 of 4004 MiB", "1.20 of 4.00 GiB"; with a ! where it does not fit.
std::string memory_words(const PlanCost& cost, size_t rank) {
  const auto needs = static_cast<double>(cost.memory[rank].total());
  const auto free = static_cast<double>(cost.free_bytes[rank]);
  const std::string text =
      free < 10.0 * (1 << 30)
          ? fmt::format("{:.0f} of {:.0f} MiB", needs / (1 << 20), free / (1 << 20))
          : fmt::format("{:.1f} of {:.1f} GiB", needs / (1 << 30), free / (1 << 30));
  return text + (needs > free ? " !" : "");
}

std::string waits_words(const PlanCost& cost, size_t rank) {
  return fmt::format("{:.0f} %", 100 * cost.ranks[rank].wait / cost.step_seconds);
}

std::string rows_of_ranks(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  bool recomputes = false;
  std::vector<Row> rows = {
      {"rank", "device", "pipeline", "layers", "grains", "computes", "waits", "memory"}};
  std::vector<Row> by_rank(cost.ranks.size());
  for (size_t rank = 0; rank < by_rank.size(); ++rank)
    by_rank[rank] = {std::to_string(rank),
                     cut(device_name(model, static_cast<int>(rank)), 14),
                     "spare",
                     "",
                     "",
                     "",
                     "",
                     ""};
  for (size_t r = 0; r < plan.replicas.size(); ++r) {
    const ReplicaPlan& replica = plan.replicas[r];
    for (size_t s = 0; s < replica.stages.size(); ++s) {
      const StagePlan& stage = replica.stages[s];
      const auto rank = static_cast<size_t>(stage.ranks.front());
      std::string layers;
      for (const LayerRange& range : stage.layers)
        layers += (layers.empty() ? "" : "; ") + layers_words(model.recipe().model, range);
      layers = cut(layers, 20);
      if (stage.recompute == Recompute::kFull) {
        layers += " +";
        recomputes = true;
      }
      by_rank[rank] = {by_rank[rank][0],
                       by_rank[rank][1],
                       fmt::format("{}: {}/{}", r, s + 1, replica.stages.size()),
                       layers,
                       batches_words(replica),
                       seconds_words(cost.ranks[rank].compute()),
                       waits_words(cost, rank),
                       memory_words(cost, rank)};
    }
  }
  rows.insert(rows.end(), by_rank.begin(), by_rank.end());
  return table(rows, {1, 3}) + "  grains: micro-batches x grains of each" +
         (recomputes ? "; +: runs its forward again to save memory\n" : "\n") +
         (plan.shard_optimizer ? "  optimizer state is cut over the ranks that hold a layer\n"
                               : "");
}

/// "12 fast", "3 fast + 2 slow": the devices of a pipeline, in order.
std::string devices_words(const CostModel& model, const ReplicaPlan& replica) {
  std::string text;
  for (size_t s = 0; s < replica.stages.size();) {
    const std::string& name = device_name(model, replica.stages[s].ranks.front());
    size_t end = s;
    while (end < replica.stages.size() &&
           device_name(model, replica.stages[end].ranks.front()) == name)
      ++end;
    text += fmt::format("{}{} {}", text.empty() ? "" : " + ", end - s, name);
    s = end;
  }
  return text;
}

struct PipelinesAlike {
  int count = 0;
  const ReplicaPlan* first = nullptr;
};

std::string rows_of_classes(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  std::map<std::tuple<std::string, int64_t, int64_t>, PipelinesAlike> classes;
  size_t used = 0;
  for (const ReplicaPlan& replica : plan.replicas) {
    used += replica.stages.size();
    PipelinesAlike& alike =
        classes[{devices_words(model, replica), -replica.share, replica.grains_per_micro_batch}];
    if (alike.count++ == 0) alike.first = &replica;
  }
  std::vector<Row> rows = {{"pipelines", "of devices", "blocks", "grains", "batches", "computes",
                            "waits", "fullest memory", "recompute"}};
  for (const auto& [key, alike] : classes) {
    const ReplicaPlan& replica = *alike.first;
    int least = model.recipe().model.num_layers(), most = 0, recomputes = 0;
    size_t busiest = static_cast<size_t>(replica.stages.front().ranks.front()), fullest = busiest;
    for (const StagePlan& stage : replica.stages) {
      const auto rank = static_cast<size_t>(stage.ranks.front());
      const int layers = stage.layers.front().last - stage.layers.front().first + 1;
      least = std::min(least, layers);
      most = std::max(most, layers);
      recomputes += stage.recompute == Recompute::kFull;
      if (cost.ranks[rank].compute() > cost.ranks[busiest].compute()) busiest = rank;
      if (cost.memory[rank].total() > cost.memory[fullest].total()) fullest = rank;
    }
    rows.push_back({std::to_string(alike.count), cut(devices_words(model, replica), 26),
                    least == most ? std::to_string(least) : fmt::format("{}-{}", least, most),
                    std::to_string(replica.share), batches_words(replica),
                    seconds_words(cost.ranks[busiest].compute()), waits_words(cost, busiest),
                    memory_words(cost, fullest),
                    recomputes ? fmt::format("{} of {}", recomputes, replica.stages.size()) : ""});
  }
  std::string text = table(rows, {1});
  text += "  computes, waits: a pipeline's busiest rank; blocks: with embedding and head\n";
  if (used < cost.ranks.size()) text += fmt::format("  {} spares\n", cost.ranks.size() - used);
  return text;
}

std::string count_words(double count) {
  if (count >= 1e9) return fmt::format("{:.2f} G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.2f} M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.1f} k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

}  // namespace

double efficiency_of(const CostModel& model, const PlanCost& cost) {
  double alone = 0;
  const std::vector<DeviceProfile>& devices = model.cluster().devices;
  for (size_t d = 0; d < devices.size(); ++d)
    alone +=
        static_cast<double>(devices[d].count) * model.alone_grains_per_second(static_cast<int>(d));
  return static_cast<double>(model.recipe().grains_per_step()) / cost.step_seconds / alone;
}

std::string describe_cost(const CostModel& model, const Plan& plan, const PlanCost& cost) {
  const Recipe& recipe = model.recipe();
  std::string text = fmt::format(
      "{}: {} parameters, {} blocks; a step is {} tokens in {} grains\n", cut(recipe.name, 40),
      count_words(static_cast<double>(parameter_count(recipe.model))),
      recipe.model.num_hidden_layers, count_words(static_cast<double>(recipe.global_batch_tokens)),
      recipe.grains_per_step());
  text += fmt::format(
      "predicted: step {}, {} tokens/s, bubble {:.0f} %, {:.0f} % of the devices alone\n",
      seconds_words(cost.step_seconds),
      count_words(static_cast<double>(recipe.global_batch_tokens) / cost.step_seconds),
      100 * cost.bubble, 100 * efficiency_of(model, cost));
  if (cost.joules || cost.price) text += "a step costs";
  if (cost.joules) text += fmt::format(" {:.4g} J", *cost.joules);
  if (cost.price) text += fmt::format("{} {:.4g} money", cost.joules ? "," : "", *cost.price);
  if (cost.joules || cost.price) text += "\n";
  text += fmt::format(
      "{} on {} ranks, schedule {}, reduction {}\n",
      plan.replicas.size() == 1 ? "1 pipeline" : fmt::format("{} pipelines", plan.replicas.size()),
      cost.ranks.size(), name_of(plan.schedule),
      recipe.numerics.reduction == Reduction::kExact ? "EXACT" : "FAST");
  text += "bottleneck: " + cut(cost.bottleneck, kMostColumns - 12) + "\n\n";
  text += static_cast<int>(cost.ranks.size()) <= kRowsOfRanks ? rows_of_ranks(model, plan, cost)
                                                              : rows_of_classes(model, plan, cost);
  return text;
}

std::string value_words(double value, Objective objective) {
  if (objective == Objective::kEnergy) return fmt::format("{:.4g} J", value);
  if (objective == Objective::kMoney) return fmt::format("{:.4g} money", value);
  return seconds_words(value);
}

std::string shape_of(const CostModel& model, const Plan& plan, size_t width) {
  std::string text = plan.replicas.size() == 1 ? "1 pipeline:"
                                               : fmt::format("{} pipelines:", plan.replicas.size());
  for (const ReplicaPlan& replica : plan.replicas) {
    if (&replica != &plan.replicas.front()) text += " |";
    for (const StagePlan& stage : replica.stages) {
      int layers = 0;
      for (const LayerRange& range : stage.layers) layers += range.last - range.first + 1;
      text += fmt::format(" {} {}", device_name(model, stage.ranks.front()), layers);
      if (&stage != &replica.stages.back()) text += ",";
    }
    if (text.size() > width) break;
  }
  return cut(text, width);
}

std::string describe_runners_up(const CostModel& model, const PlanResult& result,
                                Objective objective) {
  std::string text;
  const auto add = [&](const Candidate& candidate, const std::string& name) {
    const std::string head =
        fmt::format("  {:>2}  {:>9}  ", name, value_words(candidate.value, objective));
    text += head + cut(candidate.why_not, kMostColumns - head.size()) + "\n";
    text += std::string(6, ' ') + fmt::format("{}, {}\n", name_of(candidate.plan.schedule),
                                              shape_of(model, candidate.plan, kMostColumns - 13));
  };
  if (result.finalists.size() > 1) text += "runners-up, each with the layers its devices hold\n";
  for (size_t i = 1; i < result.finalists.size(); ++i)
    add(result.finalists[i], std::to_string(i + 1));
  if (!result.too_big.empty()) text += "with more memory\n";
  for (const Candidate& candidate : result.too_big) add(candidate, "");
  return text;
}

}  // namespace kente
