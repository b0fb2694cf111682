#include <fmt/format.h>

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/plan/cost_model.h"

namespace kente {
namespace {

bool is_message(ActionKind kind) {
  return kind == ActionKind::kSendActivation || kind == ActionKind::kRecvActivation ||
         kind == ActionKind::kSendGradient || kind == ActionKind::kRecvGradient;
}

void add(PhaseSeconds& phases, ActionKind kind, double seconds) {
  switch (kind) {
    case ActionKind::kForward:
    case ActionKind::kLoss:
      phases.forward += seconds;
      break;
    case ActionKind::kBackwardInput:
      phases.backward_input += seconds;
      break;
    case ActionKind::kBackwardWeight:
      phases.backward_weight += seconds;
      break;
    case ActionKind::kReduceBucket:
    case ActionKind::kGatherParameters:
      phases.reduce += seconds;
      break;
    case ActionKind::kStep:
      phases.optimizer += seconds;
      break;
    default:
      break;
  }
}

/// The rank that works longest, and at what.
std::string bottleneck_of(const CostModel& model, const Mesh& mesh, const PlanCost& cost) {
  int slowest = 0;
  for (int rank = 1; rank < mesh.num_ranks; ++rank)
    if (cost.ranks[static_cast<size_t>(rank)].busy() >
        cost.ranks[static_cast<size_t>(slowest)].busy())
      slowest = rank;
  const PhaseSeconds& phases = cost.ranks[static_cast<size_t>(slowest)];
  const DeviceProfile& device =
      model.cluster().devices[static_cast<size_t>(model.ranks().device_of(slowest))];
  const double compute = phases.forward + phases.backward_input + phases.backward_weight;
  const char* what = "compute";
  if (phases.reduce > compute) what = "reducing gradients";
  if (phases.optimizer > std::max(compute, phases.reduce)) what = "optimizer";
  return fmt::format("rank {} ({}), busy {:.0f} % of the step, most with {}", slowest, device.id,
                     100 * phases.busy() / cost.step_seconds, what);
}

void add_energy_and_price(const CostModel& model, const Mesh& mesh, PlanCost& cost) {
  double joules = 0, price = 0;
  bool has_watts = true, has_price = true;
  for (const MeshReplica& replica : mesh.replicas)
    for (const MeshChunk& chunk : replica.chunks) {
      // A rank with several chunks is counted at its first.
      if (&chunk != &*std::find_if(replica.chunks.begin(), replica.chunks.end(),
                                   [&](const MeshChunk& c) { return c.rank == chunk.rank; }))
        continue;
      const DeviceProfile& device =
          model.cluster().devices[static_cast<size_t>(model.ranks().device_of(chunk.rank))];
      const double busy = cost.ranks[static_cast<size_t>(chunk.rank)].busy();
      has_watts &= device.busy_watts && device.idle_watts;
      has_price &= device.price_per_hour.has_value();
      joules += busy * device.busy_watts.value_or(0) +
                (cost.step_seconds - busy) * device.idle_watts.value_or(0);
      price += cost.step_seconds / 3600 * device.price_per_hour.value_or(0);
    }
  if (has_watts) cost.joules = joules;
  if (has_price) cost.price = price;
}

}  // namespace

PlanCost predict(const CostModel& model, const Plan& plan, Timeline timeline) {
  const Mesh mesh = make_mesh(model.recipe(), plan, model.ranks().num_ranks(), model.layout());
  const ActionCosts costs = model.costs(plan, mesh);
  const std::vector<ActionList> schedule = make_schedule(mesh, plan.schedule);
  Simulation run = simulate(mesh, schedule, costs, SendMode::kBuffered, timeline);
  KENTE_CHECK(run.deadlock.empty(), run.deadlock);
  PlanCost cost;
  cost.step_seconds = run.seconds;
  cost.ranks.resize(static_cast<size_t>(mesh.num_ranks));
  for (size_t rank = 0; rank < schedule.size(); ++rank)
    for (const Action& action : schedule[rank])
      if (!is_message(action.kind))
        add(cost.ranks[rank], action.kind, costs.seconds(static_cast<int>(rank), action));
  int used = 0;
  for (int rank = 0; rank < mesh.num_ranks; ++rank) {
    PhaseSeconds& phases = cost.ranks[static_cast<size_t>(rank)];
    phases.wait = std::max(0.0, cost.step_seconds - phases.busy());
    if (mesh.replica_of(rank) < 0) continue;
    ++used;
    cost.bubble += phases.wait / cost.step_seconds;
  }
  cost.bubble /= std::max(1, used);
  cost.memory =
      predict_memory(model.recipe(), plan, mesh, model.layout(), schedule, model.state_copies());
  for (int rank = 0; rank < mesh.num_ranks; ++rank)
    cost.free_bytes.push_back(
        model.cluster().devices[static_cast<size_t>(model.ranks().device_of(rank))].memory_bytes);
  cost.bottleneck = bottleneck_of(model, mesh, cost);
  add_energy_and_price(model, mesh, cost);
  cost.timeline = std::move(run.timeline);
  return cost;
}

Prediction prediction_of(const PlanCost& cost) {
  Prediction prediction{.step_seconds = cost.step_seconds,
                        .bubble = cost.bubble,
                        .peak_bytes = {},
                        .bottleneck = cost.bottleneck};
  for (const MemoryPrediction& memory : cost.memory)
    prediction.peak_bytes.push_back(memory.total());
  return prediction;
}

}  // namespace kente
