#include "csrc/plan/settled.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr std::array kAveraged = {&PhaseSeconds::forward, &PhaseSeconds::backward_input,
                                  &PhaseSeconds::backward_weight, &PhaseSeconds::optimizer,
                                  &PhaseSeconds::wait};

/// Student's t with n - 1 degrees of freedom at 0.995, for n = 2 .. kMostSettled.
constexpr std::array<double, kMostSettled - 1> kStudent = {63.657, 9.925, 5.841, 4.604, 4.032,
                                                           3.707,  3.499, 3.355, 3.250, 3.169,
                                                           3.106,  3.055, 3.012, 2.977, 2.947};

void add(RankMeasurement& sum, const RankMeasurement& one, double weight) {
  for (const auto phase : kAveraged) sum.phases.*phase += weight * one.phases.*phase;
  sum.end_wait += weight * one.end_wait;
  for (const auto& [peer, seconds] : one.waited_for) {
    const auto known = std::ranges::find(sum.waited_for, peer, &std::pair<int, double>::first);
    if (known == sum.waited_for.end()) {
      sum.waited_for.emplace_back(peer, weight * seconds);
    } else {
      known->second += weight * seconds;
    }
  }
}

}  // namespace

SettledMeasurement settle(const std::vector<StepMeasurement>& stretches) {
  const auto count = static_cast<double>(stretches.size());
  KENTE_CHECK(stretches.size() >= 2 && stretches.size() <= kMostSettled,
              std::to_string(stretches.size()) + " stretches");
  const double student = kStudent[stretches.size() - 2];
  SettledMeasurement settled;
  settled.mean.ranks.resize(stretches.front().ranks.size());
  for (const StepMeasurement& stretch : stretches) {
    KENTE_CHECK(stretch.ranks.size() == settled.mean.ranks.size(),
                std::to_string(stretch.ranks.size()) + " ranks");
    settled.mean.step_seconds += stretch.step_seconds / count;
    for (size_t rank = 0; rank < stretch.ranks.size(); ++rank)
      add(settled.mean.ranks[rank], stretch.ranks[rank], 1 / count);
  }
  for (size_t rank = 0; rank < settled.mean.ranks.size(); ++rank) {
    const double mean = own_work(settled.mean.ranks[rank].phases);
    if (mean <= 0) continue;  // a spare
    double squares = 0;
    for (const StepMeasurement& stretch : stretches) {
      const double off = own_work(stretch.ranks[rank].phases) - mean;
      squares += off * off;
    }
    settled.error =
        std::max(settled.error, student * std::sqrt(squares / (count - 1) / count) / mean);
  }
  return settled;
}

}  // namespace kente
