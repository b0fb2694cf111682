#include "csrc/train/plan_watch.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "csrc/base/errors.h"
#include "csrc/plan/settled.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

constexpr int64_t kWarmUpSteps = 2;
constexpr int64_t kStretchSteps = 10;
/// Stretches under one plan are looked at together when there are so many, and then whenever there
/// are kMostSettled new ones.
constexpr std::array<size_t, 2> kFewStretches = {4, 8};

using Json = nlohmann::json;

std::string to_json(const RankMeasurement& measured, double seconds) {
  const PhaseSeconds& p = measured.phases;
  return Json{{"seconds", seconds},
              {"phases", {p.forward, p.backward_input, p.backward_weight, p.optimizer, p.wait}},
              {"end_wait", measured.end_wait},
              {"waited_for", measured.waited_for}}
      .dump();
}

/// Of our own making a moment ago, on a rank of the same build.
RankMeasurement from_json(const Json& json) {
  RankMeasurement measured;
  const auto phases = json.at("phases").get<std::vector<double>>();
  measured.phases.forward = phases.at(0);
  measured.phases.backward_input = phases.at(1);
  measured.phases.backward_weight = phases.at(2);
  measured.phases.optimizer = phases.at(3);
  measured.phases.wait = phases.at(4);
  measured.end_wait = json.at("end_wait").get<double>();
  measured.waited_for = json.at("waited_for").get<std::vector<std::pair<int, double>>>();
  return measured;
}

PhaseRecord record_of(const PhaseSeconds& phases) {
  return {.forward = phases.forward,
          .backward_input = phases.backward_input,
          .backward_weight = phases.backward_weight,
          .optimizer = phases.optimizer,
          .wait = phases.wait + phases.reduce};
}

}  // namespace

PlanWatch::PlanWatch(const Recipe& recipe, const Plan& plan, const ClusterProfile& cluster,
                     Communicator& world, double timeout_seconds)
    : plan_(plan),
      cluster_(cluster),
      world_(world),
      timeout_seconds_(timeout_seconds),
      model_(recipe, cluster),
      predicted_(predict(model_, plan)) {
  KENTE_CHECK(cluster.num_ranks() == world.size(),
              std::to_string(cluster.num_ranks()) + " ranks in the profile");
}

std::optional<WatchedSteps> PlanWatch::step(double seconds, ActionClock& clock) {
  if (++seen_ <= kWarmUpSteps) {
    clock.phases().take();
    return std::nullopt;
  }
  seconds_ += seconds;
  if (++counted_ < kStretchSteps) return std::nullopt;
  const StepMeasurement measured =
      gather(clock.phases().take(), seconds_ / static_cast<double>(counted_));
  seconds_ = 0;
  counted_ = 0;
  if (world_.rank() != 0) return std::nullopt;
  WatchedSteps watched;
  watched.seconds = measured.step_seconds;
  for (size_t rank = 0; rank < measured.ranks.size(); ++rank) {
    const auto device = static_cast<size_t>(model_.ranks().device_of(static_cast<int>(rank)));
    watched.ranks.push_back({.rank = static_cast<int>(rank),
                             .device = cluster_.devices[device].id,
                             .measured = record_of(measured.ranks[rank].phases),
                             .predicted = record_of(predicted_.ranks[rank])});
  }
  watched.corrected = corrected_profile(model_, plan_, measured);
  stretches_.push_back(measured);
  watched.settled = settled();
  watched.drift = find_drift(model_, plan_, measured);
  watched.off = watched.drift.has_value();
  const int rank = watched.drift ? watched.drift->rank : -2;
  const std::string phase = watched.drift ? watched.drift->phase : "";
  if (rank == last_rank_ && phase == last_phase_) watched.drift.reset();
  last_rank_ = rank;
  last_phase_ = phase;
  return watched;
}

std::optional<WatchedSteps::Settled> PlanWatch::settled() {
  const size_t count = stretches_.size();
  const bool few = !settled_before_ && std::ranges::count(kFewStretches, count) > 0;
  if (!few && count < kMostSettled) return std::nullopt;
  const SettledMeasurement together = settle(stretches_);
  if (count == kMostSettled) {
    settled_before_ = true;
    stretches_.clear();
  }
  return WatchedSteps::Settled{corrected_profile(model_, plan_, together.mean), together.error};
}

StepMeasurement PlanWatch::gather(const RankMeasurement& mine, double seconds) {
  StepMeasurement measured;
  for (const std::string& text :
       all_gather_text(world_, to_json(mine, seconds), Deadline::after_seconds(timeout_seconds_))) {
    const Json json = Json::parse(text);
    measured.ranks.push_back(from_json(json));
    measured.step_seconds = std::max(measured.step_seconds, json.at("seconds").get<double>());
  }
  return measured;
}

}  // namespace kente
