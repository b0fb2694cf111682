#include "csrc/plan/why_not.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "csrc/plan/plan_words.h"

namespace kente {
namespace {

/// A difference in a part of the step below this is not called a cause.
constexpr double kNoteworthy = 0.02;

int spares_of(const PlanCost& cost) {
  return static_cast<int>(std::count_if(cost.ranks.begin(), cost.ranks.end(),
                                        [](const PhaseSeconds& rank) { return rank.busy() == 0; }));
}

double longest_reduce(const PlanCost& cost) {
  double longest = 0;
  for (const PhaseSeconds& rank : cost.ranks) longest = std::max(longest, rank.reduce);
  return longest;
}

double longest_optimizer(const PlanCost& cost) {
  double longest = 0;
  for (const PhaseSeconds& rank : cost.ranks) longest = std::max(longest, rank.optimizer);
  return longest;
}

/// The rank furthest beyond its limit; -1 when all fit.
int most_overfull(const PlanCost& cost, double memory_use, int64_t& lacking) {
  int worst = -1;
  for (size_t rank = 0; rank < cost.memory.size(); ++rank) {
    const int64_t limit =
        static_cast<int64_t>(memory_use * static_cast<double>(cost.free_bytes[rank]));
    if (cost.memory[rank].total() - limit <= lacking) continue;
    lacking = cost.memory[rank].total() - limit;
    worst = static_cast<int>(rank);
  }
  return worst;
}

std::string cause(const CostModel& model, const PlanCost& loser, const PlanCost& winner) {
  const double step = winner.step_seconds;
  const double reduce = longest_reduce(loser) - longest_reduce(winner);
  const double optimizer = longest_optimizer(loser) - longest_optimizer(winner);
  const double slower = loser.step_seconds - winner.step_seconds;
  if (reduce > kNoteworthy * step && reduce > slower / 2)
    return fmt::format("reducing gradients takes {} against {}",
                       seconds_words(longest_reduce(loser)), seconds_words(longest_reduce(winner)));
  if (optimizer > kNoteworthy * step && optimizer > slower / 2)
    return fmt::format("the optimizer takes {} against {}", seconds_words(longest_optimizer(loser)),
                       seconds_words(longest_optimizer(winner)));
  if (loser.bubble > winner.bubble + kNoteworthy)
    return fmt::format("bubble {:.0f} % against {:.0f} %", 100 * loser.bubble, 100 * winner.bubble);
  const int spares = spares_of(loser) - spares_of(winner);
  if (spares > 0)
    return fmt::format("{} {} idle", spares, spares == 1 ? "rank more stays" : "ranks more stay");
  size_t slowest = 0;
  for (size_t rank = 1; rank < loser.ranks.size(); ++rank)
    if (loser.ranks[rank].compute() > loser.ranks[slowest].compute()) slowest = rank;
  return fmt::format("rank {} ({}) computes {}, waits {:.0f} %", slowest,
                     device_name(model, static_cast<int>(slowest)),
                     seconds_words(loser.ranks[slowest].compute()),
                     100 * loser.ranks[slowest].wait / loser.step_seconds);
}

}  // namespace

std::string why_not(const CostModel& model, const Candidate& loser, const Candidate& winner,
                    const PlanOptions& options) {
  const double percent = 100 * (loser.value / winner.value - 1);
  int64_t lacking = 0;
  const int overfull = most_overfull(loser.cost, options.memory_use, lacking);
  if (overfull >= 0)
    return fmt::format("{:.1f} % less, but rank {} ({}) needs {} more than it may take",
                       std::abs(percent), overfull, device_name(model, overfull),
                       bytes_words(lacking));
  return fmt::format("+{:.1f} %: {}", percent, cause(model, loser.cost, winner.cost));
}

}  // namespace kente
