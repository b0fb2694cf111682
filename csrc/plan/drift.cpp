#include "csrc/plan/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "csrc/base/errors.h"

namespace kente {
namespace {

/// Below this part of a step a phase is noise.
constexpr double kSmallPart = 0.02;
/// With more ranks only those that are furthest off are tried one by one.
constexpr size_t kMostTrials = 64;

using Field = double PhaseSeconds::*;

struct NamedPhase {
  const char* name;
  Field field;
};

constexpr std::array<NamedPhase, 4> kPhases = {{
    {"forward", &PhaseSeconds::forward},
    {"backward_input", &PhaseSeconds::backward_input},
    {"backward_weight", &PhaseSeconds::backward_weight},
    {"optimizer", &PhaseSeconds::optimizer},
}};

double ratio(double measured, double predicted) {
  return predicted > 0 && measured > 0 ? measured / predicted : 1;
}

void scale(DeviceProfile& device, const NamedPhase& phase, double factor) {
  if (phase.field == &PhaseSeconds::optimizer) device.optimizer_seconds_per_parameter *= factor;
  for (LayerCurve& curve : device.curves)
    for (LayerSeconds& at : curve.at) {
      if (phase.field == &PhaseSeconds::forward) {
        at.forward *= factor;
        at.loss *= factor;
      }
      if (phase.field == &PhaseSeconds::backward_input) at.backward_input *= factor;
      if (phase.field == &PhaseSeconds::backward_weight) at.backward_weight *= factor;
    }
}

std::string name_of(const CostModel& model, int rank) {
  const auto device = static_cast<size_t>(model.ranks().device_of(rank));
  return fmt::format("rank {} ({})", rank, model.cluster().devices[device].id);
}

/// The rank that comes last to the step's end waits for nobody there: what it still waits for is
/// the reductions.
double reduce_of(const PlanCost& cost) {
  const auto ranks = cost.ranks.size();
  std::vector<double> arrived(ranks, -1);
  double optimizer = 0, step_end = 0;
  for (const TimelineEntry& entry : cost.timeline) {
    const auto rank = static_cast<size_t>(entry.rank);
    if (entry.action.kind != ActionKind::kReduceBucket && entry.action.kind != ActionKind::kStep)
      continue;
    if (arrived[rank] < 0) arrived[rank] = entry.begin;
    if (entry.action.kind != ActionKind::kStep) continue;
    optimizer = std::max(optimizer, cost.ranks[rank].optimizer);
    step_end = std::max(step_end, entry.end);
  }
  return std::max(0.0, step_end - optimizer - *std::max_element(arrived.begin(), arrived.end()));
}

double reduce_of(const StepMeasurement& measured) {
  double least = INFINITY;
  for (const RankMeasurement& rank : measured.ranks)
    if (own_work(rank.phases) > 0) least = std::min(least, rank.end_wait);
  return std::isfinite(least) ? least : 0;
}

void scale_reduce(ClusterProfile& cluster, double factor) {
  for (LinkProfile& link : cluster.links) {
    const double rate =
        link.reduce_bytes_per_second > 0 ? link.reduce_bytes_per_second : link.bytes_per_second;
    link.reduce_bytes_per_second = rate / factor;
  }
}

/// Every device of the cluster an entry of its own, so that one rank can be changed alone.
ClusterProfile one_device_a_rank(const CostModel& model) {
  ClusterProfile out = model.cluster();
  const bool single = std::all_of(out.devices.begin(), out.devices.end(),
                                  [](const DeviceProfile& d) { return d.count == 1; });
  if (!single)
    throw InternalError("a measured step is compared rank by rank: the profile must list each");
  return out;
}

double simulated_seconds(const CostModel& model, const ClusterProfile& cluster, const Plan& plan) {
  return predict(CostModel(model.recipe(), cluster), plan).step_seconds;
}

/// The profile with every rank's compute as measured.
ClusterProfile with_measured_compute(const CostModel& model, const PlanCost& predicted,
                                     const StepMeasurement& measured) {
  ClusterProfile cluster = one_device_a_rank(model);
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank)
    for (const NamedPhase& phase : kPhases)
      scale(cluster.devices[rank], phase,
            ratio(measured.ranks[rank].phases.*phase.field, predicted.ranks[rank].*phase.field));
  return cluster;
}

PlanCost predict_for(const CostModel& model, const Plan& plan, const StepMeasurement& measured) {
  PlanCost predicted = predict(model, plan);
  KENTE_CHECK(measured.ranks.size() == predicted.ranks.size(),
              std::to_string(measured.ranks.size()) + " ranks measured");
  return predicted;
}

/// Whether the step or some rank's compute is further off than tolerance.
bool is_off(const PlanCost& predicted, const StepMeasurement& measured, double tolerance) {
  const double step = predicted.step_seconds;
  if (std::abs(measured.step_seconds / step - 1) > tolerance) return true;
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank) {
    const double was = own_work(measured.ranks[rank].phases);
    const double expected = own_work(predicted.ranks[rank]);
    if (std::abs(was - expected) > std::max(tolerance * expected, kSmallPart * step)) return true;
  }
  return false;
}

/// One phase of one rank that was not as predicted.
struct Suspect {
  int rank = 0;
  const NamedPhase* phase = nullptr;
  double factor = 1;
  double seconds = 0;  // measured less predicted
};

std::vector<Suspect> suspects(const PlanCost& predicted, const StepMeasurement& measured) {
  std::vector<Suspect> found;
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank)
    for (const NamedPhase& phase : kPhases) {
      const double was = measured.ranks[rank].phases.*phase.field;
      const double expected = predicted.ranks[rank].*phase.field;
      if (expected <= 0 || was <= 0) continue;
      found.push_back({.rank = static_cast<int>(rank),
                       .phase = &phase,
                       .factor = was / expected,
                       .seconds = was - expected});
    }
  std::stable_sort(found.begin(), found.end(), [](const Suspect& a, const Suspect& b) {
    return std::abs(a.seconds) > std::abs(b.seconds);
  });
  if (found.size() > kMostTrials) found.resize(kMostTrials);
  return found;
}

/// The phase that alone brings the simulation nearest to what was measured; between phases that do
/// not move the step, and where the step is as predicted, the one that is most seconds off, which
/// comes first.
Drift slow_phase(const CostModel& model, const Plan& plan, const PlanCost& predicted,
                 const StepMeasurement& measured, bool step_is_off) {
  const ClusterProfile as_predicted = one_device_a_rank(model);
  std::vector<Suspect> tried = suspects(predicted, measured);
  if (!step_is_off && !tried.empty()) tried.erase(tried.begin() + 1, tried.end());
  const double noise = kSmallPart * kSmallPart * predicted.step_seconds;
  double nearest = INFINITY;
  Drift best;
  for (const Suspect& suspect : tried) {
    ClusterProfile changed = as_predicted;
    scale(changed.devices[static_cast<size_t>(suspect.rank)], *suspect.phase, suspect.factor);
    const double away = std::abs(measured.step_seconds - simulated_seconds(model, changed, plan));
    if (away >= nearest - noise) continue;
    nearest = away;
    best.rank = suspect.rank;
    best.phase = suspect.phase->name;
    best.factor = suspect.factor;
    best.message = fmt::format("{}: {} takes {:.2f} times as long as the profile says",
                               name_of(model, suspect.rank), suspect.phase->name, suspect.factor);
  }
  return best;
}

/// Compares what messages were waited for with what the simulation of the corrected profile has.
Drift slow_link(const CostModel& model, const PlanCost& corrected,
                const StepMeasurement& measured) {
  Drift drift;
  double most = 0;
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank)
    for (const auto& [peer, seconds] : measured.ranks[rank].waited_for) {
      double expected = 0;
      for (const TimelineEntry& entry : corrected.timeline)
        if (entry.rank == static_cast<int>(rank) && entry.action.peer == peer &&
            (entry.action.kind == ActionKind::kRecvActivation ||
             entry.action.kind == ActionKind::kRecvGradient))
          expected += entry.end - entry.begin;
      if (seconds - expected <= most) continue;
      most = seconds - expected;
      drift.rank = static_cast<int>(rank);
      drift.peer = peer;
      drift.factor = ratio(seconds, expected);
    }
  const double reduce = reduce_of(measured) - reduce_of(corrected);
  if (reduce > most) {
    drift = {};
    drift.phase = "reduce";
    drift.factor = ratio(reduce_of(measured), reduce_of(corrected));
    drift.message = fmt::format("reductions took {:.3f} s, {:.3f} s were predicted",
                                reduce_of(measured), reduce_of(corrected));
  } else if (drift.rank >= 0) {
    drift.phase = "link";
    drift.message = fmt::format(
        "link between {} and {}: {:.3f} s more waited for messages than its speed explains",
        name_of(model, drift.peer), name_of(model, drift.rank), most);
  } else {
    drift.phase = "step";
    drift.message = "no rank, phase or link explains it: time between the phases, or noise";
  }
  return drift;
}

}  // namespace

ClusterProfile corrected_profile(const CostModel& model, const Plan& plan,
                                 const StepMeasurement& measured) {
  const PlanCost predicted = predict_for(model, plan, measured);
  ClusterProfile cluster = with_measured_compute(model, predicted, measured);
  scale_reduce(cluster, ratio(reduce_of(measured), reduce_of(predicted)));
  return cluster;
}

std::optional<Drift> find_drift(const CostModel& model, const Plan& plan,
                                const StepMeasurement& measured, double tolerance) {
  const PlanCost predicted = predict_for(model, plan, measured);
  if (!is_off(predicted, measured, tolerance)) return std::nullopt;
  const double step = predicted.step_seconds;
  const double before = std::abs(measured.step_seconds - step);
  const bool step_is_off = before > tolerance * step;
  Drift drift = slow_phase(model, plan, predicted, measured, step_is_off);
  const ClusterProfile compute_corrected = with_measured_compute(model, predicted, measured);
  const PlanCost corrected = predict(CostModel(model.recipe(), compute_corrected), plan);
  const double left = measured.step_seconds - corrected.step_seconds;
  if (step_is_off && left > before / 2) drift = slow_link(model, corrected, measured);
  drift.predicted_seconds = step;
  drift.measured_seconds = measured.step_seconds;
  drift.message =
      fmt::format("step {:.3f} s, {:.3f} s predicted ({:+.0f} %): {}", measured.step_seconds, step,
                  100 * (measured.step_seconds / step - 1), drift.message);
  return drift;
}

}  // namespace kente
