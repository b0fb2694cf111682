#include "csrc/data/ledger.h"

#include <algorithm>
#include <map>

namespace kente {
namespace {

void find_missing_steps(const std::map<int64_t, StepSamples>& steps, Ledger& ledger) {
  int64_t next = 1;
  for (const auto& [step, samples] : steps) {
    if (step > next) ledger.missing_steps.push_back({.first_step = next, .last_step = step - 1});
    next = step + 1;
    if (!samples.applied) ledger.not_applied.push_back(step);
  }
}

void find_ranges(const std::map<int64_t, StepSamples>& steps, Ledger& ledger) {
  for (const auto& [step, samples] : steps) {
    std::vector<Ledger::Range>& ranges = ledger.ranges;
    if (!ranges.empty() && ranges.back().last_step + 1 == step &&
        ranges.back().last_sample + 1 == samples.first) {
      ranges.back().last_step = step;
      ranges.back().last_sample = samples.last;
    } else {
      ranges.push_back({.first_step = step,
                        .last_step = step,
                        .first_sample = samples.first,
                        .last_sample = samples.last});
    }
  }
}

}  // namespace

Ledger make_ledger(const std::vector<StepSamples>& all) {
  Ledger ledger;
  std::map<int64_t, StepSamples> steps;
  for (const StepSamples& step : all) steps.insert_or_assign(step.step, step);
  ledger.steps = static_cast<int64_t>(steps.size());
  find_missing_steps(steps, ledger);
  find_ranges(steps, ledger);

  std::vector<StepSamples> by_sample;
  for (const auto& [step, samples] : steps)
    if (samples.first <= samples.last) by_sample.push_back(samples);
  std::stable_sort(by_sample.begin(), by_sample.end(),
                   [](const StepSamples& a, const StepSamples& b) { return a.first < b.first; });
  int64_t end = 0, end_step = 0;  // samples below end are spoken for, the last of them by end_step
  for (const StepSamples& at : by_sample) {
    if (at.first > end)
      ledger.left_out.push_back({.first_sample = end,
                                 .last_sample = at.first - 1,
                                 .step = end_step,
                                 .other_step = at.step});
    if (at.first < end)
      ledger.used_twice.push_back({.first_sample = at.first,
                                   .last_sample = std::min(at.last, end - 1),
                                   .step = std::min(end_step, at.step),
                                   .other_step = std::max(end_step, at.step)});
    ledger.samples += std::max<int64_t>(0, at.last + 1 - std::max(end, at.first));
    if (at.last + 1 <= end) continue;
    end = at.last + 1;
    end_step = at.step;
  }
  return ledger;
}

}  // namespace kente
