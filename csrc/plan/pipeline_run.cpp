#include "csrc/plan/pipeline_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace kente {
namespace {

/// Micro-batches that are simulated one by one, for p stages; more follow a straight line.
int64_t warm_up(size_t p) { return std::max<int64_t>(16, static_cast<int64_t>(p) + 12); }

/// What is asked of memory alone is asked of stages that take equally long.
constexpr PassTimes kAlike = {
    .forward = 1, .backward_input = 1, .backward_weight = 1, .message = 0};

int64_t microseconds(double seconds) {
  constexpr int64_t kMost = 1'000'000'000;  // that a plan file may say
  return std::min(kMost, static_cast<int64_t>(std::llround(1e6 * seconds)));
}

/// The line goes through warm_up and so many fewer.
constexpr int64_t kSlope = 4;

/// first_block is moved down where the blocks would not fit below the head: tables ask for stages
/// that together hold more than the model.
LayerRange layers_of_stage(size_t stage, size_t stages, int first_block, int blocks, int head) {
  const bool first = stage == 0, last = stage + 1 == stages;
  const int from = std::min(first_block, head - blocks);
  return {.first = first  ? 0
                   : last ? head - blocks
                          : from,
          .last = last    ? head
                  : first ? blocks
                          : from + blocks - 1};
}

double along(double low, double high, double steps) { return high + (high - low) * steps; }

}  // namespace

double PipelineRun::seconds() const { return *std::max_element(ends.begin(), ends.end()); }

int64_t PipelineRun::total_lacking() const {
  return std::accumulate(lacking.begin(), lacking.end(), int64_t{0});
}

/// A plan of this pipeline alone, on ranks 0, 1, ...
struct PipelineRunner::Probe {
  Plan plan;
  Mesh mesh;
  std::vector<ActionList> schedule;

  /// times, under_way: of a zero-bubble schedule; empty: all stages alike, 0: as many as stages.
  Probe(const CostModel& model, const PipelineSpec& spec, ScheduleKind kind,
        const std::vector<PassTimes>& times = {}, int64_t under_way = 0) {
    plan.schedule = kind;
    mesh.num_ranks = static_cast<int>(spec.ranks.size());
    ReplicaPlan& replica = plan.replicas.emplace_back();
    replica.share = spec.share;
    replica.grains_per_micro_batch = spec.grains_per_micro_batch;
    MeshReplica& chunks = mesh.replicas.emplace_back();
    const int head = model.recipe().model.num_layers() - 1;
    int block = 1;
    for (size_t i = 0; i < spec.ranks.size(); ++i) {
      const int rank = static_cast<int>(i);
      const LayerRange layers = layers_of_stage(i, spec.ranks.size(), block, spec.blocks[i], head);
      block += spec.blocks[i];
      replica.stages.push_back({.ranks = {rank},
                                .layers = {layers},
                                .compute = model.compute_of_rank(spec.ranks[i]),
                                .recompute = Recompute::kNone});
      chunks.chunks.push_back({.layers = layers,
                               .rank = rank,
                               .stage = rank,
                               .times = times.empty() ? kAlike : times[i]});
    }
    for (int64_t done = 0; done < spec.share; done += spec.grains_per_micro_batch)
      chunks.micro_batches.push_back(
          {.first_grain = done,
           .grains = std::min(spec.grains_per_micro_batch, spec.share - done)});
    chunks.under_way = under_way > 0 ? under_way : static_cast<int64_t>(spec.ranks.size());
    mesh.index_ranks();
    schedule = make_schedule(mesh, kind);
    // Collectives are the whole step's affair: this is about the time before them.
    for (ActionList& list : schedule)
      std::erase_if(list, [](const Action& action) { return action.chunk < 0; });
  }

  void set_recompute(size_t stage, Recompute recompute) {
    plan.replicas.front().stages[stage].recompute = recompute;
  }
};

PipelineRunner::PipelineRunner(const CostModel& model, double memory_use)
    : model_(model), memory_use_(memory_use) {}

int64_t PipelineRunner::limit_of(int rank) const {
  if (std::isinf(memory_use_)) return std::numeric_limits<int64_t>::max();
  const auto device = static_cast<size_t>(model_.ranks().device_of(rank));
  return static_cast<int64_t>(memory_use_ *
                              static_cast<double>(model_.cluster().devices[device].memory_bytes));
}

const PipelineRunner::Passes& PipelineRunner::passes(int device, int64_t grains) {
  const auto [entry, fresh] = passes_.try_emplace({device, grains});
  Passes& passes = entry->second;
  if (!fresh) return passes;
  const int head = model_.recipe().model.num_layers() - 1;
  const int layers[] = {0, 1, head};
  const DType compute = model_.compute_of(device);
  for (size_t i = 0; i < 3; ++i) {
    const auto seconds = [&](ActionKind pass) {
      return model_.layer_seconds(device, layers[i], compute, pass, grains);
    };
    passes.forward[i] = seconds(ActionKind::kForward);
    if (layers[i] == head) passes.forward[i] += seconds(ActionKind::kLoss);
    passes.backward_input[i] = seconds(ActionKind::kBackwardInput);
    passes.backward_weight[i] = seconds(ActionKind::kBackwardWeight);
  }
  return passes;
}

std::vector<int64_t> PipelineRunner::bytes_of(const Probe& probe) const {
  std::vector<int64_t> bytes;
  for (const MemoryPrediction& memory :
       predict_memory(model_.recipe(), probe.plan, probe.mesh, model_.layout(), probe.schedule,
                      model_.state_copies()))
    bytes.push_back(memory.total());
  return bytes;
}

double PipelineRunner::stage_seconds(const PipelineSpec& spec, size_t stage, Recompute recompute,
                                     ActionKind pass, int64_t grains) {
  const Passes& p = passes(model_.ranks().device_of(spec.ranks[stage]), grains);
  const double* const by_layer = pass == ActionKind::kForward         ? p.forward
                                 : pass == ActionKind::kBackwardInput ? p.backward_input
                                                                      : p.backward_weight;
  double seconds = spec.blocks[stage] * by_layer[1];
  if (stage == 0) seconds += by_layer[0];
  if (stage + 1 == spec.ranks.size()) seconds += by_layer[2];
  if (pass == ActionKind::kBackwardInput && recompute == Recompute::kFull)
    seconds += spec.blocks[stage] * p.forward[1];
  return seconds;
}

double PipelineRunner::message_seconds(const PipelineSpec& spec, size_t from, size_t to,
                                       ActionKind send, int64_t grains) const {
  return model_.transfer_seconds(spec.ranks[from], spec.ranks[to],
                                 model_.message_bytes(send, grains));
}

std::vector<PassTimes> PipelineRunner::times_of(const PipelineSpec& spec,
                                                const std::vector<Recompute>& recompute) {
  const int64_t grains = spec.grains_per_micro_batch;
  std::vector<PassTimes> times;
  for (size_t i = 0; i < spec.ranks.size(); ++i) {
    const auto of = [&](ActionKind pass) {
      return std::max<int64_t>(1, microseconds(stage_seconds(spec, i, recompute[i], pass, grains)));
    };
    times.push_back({.forward = of(ActionKind::kForward),
                     .backward_input = of(ActionKind::kBackwardInput),
                     .backward_weight = of(ActionKind::kBackwardWeight),
                     .message = 0});
    if (i + 1 < spec.ranks.size())
      times.back().message =
          microseconds(message_seconds(spec, i, i + 1, ActionKind::kSendActivation, grains));
  }
  return times;
}

/// Recompute where it must be; whether anything was changed.
bool PipelineRunner::add_recompute(const PipelineSpec& spec, PipelineRun& run) const {
  bool changed = false;
  for (size_t i = 0; i < spec.ranks.size(); ++i) {
    if (run.bytes[i] <= limit_of(spec.ranks[i]) || spec.blocks[i] == 0) continue;
    run.recompute[i] = Recompute::kFull;
    changed = true;
  }
  return changed;
}

/// The pipeline as it fits, as far as it does: bytes, recompute, times and what is under way.
PipelineRunner::Probe PipelineRunner::fitted(const PipelineSpec& spec, ScheduleKind kind,
                                             PipelineRun& run) {
  const auto stages = static_cast<int64_t>(spec.ranks.size());
  run.recompute.assign(spec.ranks.size(), Recompute::kNone);
  const auto fits = [&] {
    for (size_t i = 0; i < spec.ranks.size(); ++i)
      if (run.bytes[i] > limit_of(spec.ranks[i])) return false;
    return true;
  };
  const bool timed = kind == ScheduleKind::kZeroBubble;
  if (timed) {
    // Much under way hides messages and unevenness. It takes memory, but never recompute.
    run.times = times_of(spec, run.recompute);
    run.under_way = 2 * stages - 1;
  }
  Probe probe(model_, spec, kind, run.times, run.under_way);
  run.bytes = bytes_of(probe);
  if (timed && stages > 1 && !fits()) {
    run.under_way = stages;
    probe = Probe(model_, spec, kind, run.times, run.under_way);
    run.bytes = bytes_of(probe);
  }
  if (!add_recompute(spec, run)) return probe;
  if (timed) {
    run.times = times_of(spec, run.recompute);
    probe = Probe(model_, spec, kind, run.times, run.under_way);
  }
  for (size_t i = 0; i < spec.ranks.size(); ++i) probe.set_recompute(i, run.recompute[i]);
  run.bytes = bytes_of(probe);
  return probe;
}

PipelineRun PipelineRunner::simulate_all(const PipelineSpec& spec, ScheduleKind kind) {
  ++runs_;
  const size_t stages = spec.ranks.size();
  PipelineRun run;
  const Probe probe = fitted(spec, kind, run);
  const std::vector<MeshMicroBatch>& batches = probe.mesh.replicas.front().micro_batches;
  // By stage, then pass, then whether it is the last, possibly smaller, micro-batch.
  std::vector<double> table;
  for (size_t i = 0; i < stages; ++i)
    for (const ActionKind pass :
         {ActionKind::kForward, ActionKind::kBackwardInput, ActionKind::kBackwardWeight})
      for (const MeshMicroBatch& batch : {batches.front(), batches.back()})
        table.push_back(stage_seconds(spec, i, run.recompute[i], pass, batch.grains));
  const int last = static_cast<int>(batches.size()) - 1;
  ActionCosts costs;
  costs.seconds = [&](int rank, const Action& action) {
    if (action.kind == ActionKind::kLoss) return 0.0;  // counted with the forward
    const size_t pass = action.kind == ActionKind::kForward         ? 0
                        : action.kind == ActionKind::kBackwardInput ? 1
                                                                    : 2;
    return table[static_cast<size_t>(rank) * 6 + pass * 2 + (action.micro_batch == last ? 1 : 0)];
  };
  costs.transfer_seconds = [&](int from, int to, const Action& action) {
    const int64_t grains = batches[static_cast<size_t>(action.micro_batch)].grains;
    return message_seconds(spec, static_cast<size_t>(from), static_cast<size_t>(to), action.kind,
                           grains);
  };
  Simulation simulated =
      simulate(probe.mesh, probe.schedule, costs, SendMode::kBuffered, Timeline::kLeftOut);
  run.ends = std::move(simulated.ends);
  run.busy = std::move(simulated.busy);
  return run;
}

PipelineRun PipelineRunner::run(const PipelineSpec& spec, ScheduleKind schedule) {
  const size_t stages = spec.ranks.size();
  const int64_t whole = spec.share / spec.grains_per_micro_batch;
  const int64_t most = warm_up(stages);
  PipelineRun run;
  if (whole <= most) {
    run = simulate_all(spec, schedule);
  } else {
    PipelineSpec shorter = spec;
    shorter.share -= (whole - most) * spec.grains_per_micro_batch;
    run = simulate_all(shorter, schedule);
    shorter.share -= kSlope * spec.grains_per_micro_batch;
    const PipelineRun before = simulate_all(shorter, schedule);
    const double steps = static_cast<double>(whole - most) / static_cast<double>(kSlope);
    for (size_t i = 0; i < stages; ++i) {
      run.ends[i] = along(before.ends[i], run.ends[i], steps);
      run.busy[i] = along(before.busy[i], run.busy[i], steps);
      run.bytes[i] = static_cast<int64_t>(
          along(static_cast<double>(before.bytes[i]), static_cast<double>(run.bytes[i]), steps));
    }
  }
  run.stage_of_layer.assign(static_cast<size_t>(model_.recipe().model.num_layers()), 0);
  size_t layer = 1;
  for (size_t i = 0; i < stages; ++i) {
    run.lacking.push_back(std::max<int64_t>(0, run.bytes[i] - limit_of(spec.ranks[i])));
    for (int block = 0; block < spec.blocks[i]; ++block)
      run.stage_of_layer[layer++] = static_cast<int>(i);
  }
  run.stage_of_layer.back() = static_cast<int>(stages) - 1;
  run.parameters.assign(stages, 0);
  for (const ParamGroup& group : model_.layout()) {
    int before = -1;  // a rank that uses a tied group twice holds it once
    for (const int user : group.layers) {
      const int stage = run.stage_of_layer[static_cast<size_t>(user)];
      if (stage != before) run.parameters[static_cast<size_t>(stage)] += group.size;
      before = stage;
    }
  }
  return run;
}

const PipelineRunner::BytesByBlocks& PipelineRunner::few_bytes_by_blocks(const PipelineSpec& spec,
                                                                         ScheduleKind schedule,
                                                                         Recompute recompute) {
  const size_t stages = spec.ranks.size();
  std::vector<int64_t> key = {spec.share, spec.grains_per_micro_batch,
                              static_cast<int64_t>(schedule), static_cast<int64_t>(recompute)};
  for (const int rank : spec.ranks)
    key.push_back(static_cast<int64_t>(model_.compute_of_rank(rank)));
  const auto [entry, fresh] = bytes_.try_emplace(std::move(key));
  BytesByBlocks& bytes = entry->second;
  if (!fresh) return bytes;
  const int blocks = static_cast<int>(model_.recipe().model.num_hidden_layers);
  PipelineSpec tried = spec;
  const auto with_blocks = [&](int n) {
    // Every stage with n blocks at once: what one needs does not depend on what others hold.
    tried.blocks.assign(stages, n);
    Probe probe(model_, tried, schedule);
    for (size_t i = 0; i < stages; ++i) probe.set_recompute(i, recompute);
    return bytes_of(probe);
  };
  // From one block on, each block adds the same.
  bytes = {with_blocks(0), with_blocks(1)};
  const std::vector<int64_t> all = with_blocks(blocks);
  for (int n = 2; n <= blocks; ++n) {
    std::vector<int64_t>& row = bytes.emplace_back();
    for (size_t i = 0; i < stages; ++i)
      row.push_back(bytes[1][i] + (all[i] - bytes[1][i]) * (n - 1) / (blocks - 1));
  }
  return bytes;
}

PipelineRunner::BytesByBlocks PipelineRunner::bytes_by_blocks(const PipelineSpec& spec,
                                                              ScheduleKind schedule,
                                                              Recompute recompute) {
  const int64_t whole = spec.share / spec.grains_per_micro_batch;
  const int64_t most = warm_up(spec.ranks.size());
  if (whole <= most) return few_bytes_by_blocks(spec, schedule, recompute);
  PipelineSpec shorter = spec;
  shorter.share = most * spec.grains_per_micro_batch;
  BytesByBlocks bytes = few_bytes_by_blocks(shorter, schedule, recompute);
  shorter.share = (most - kSlope) * spec.grains_per_micro_batch;
  const BytesByBlocks& before = few_bytes_by_blocks(shorter, schedule, recompute);
  for (size_t n = 0; n < bytes.size(); ++n)
    for (size_t i = 0; i < bytes[n].size(); ++i)
      bytes[n][i] += (bytes[n][i] - before[n][i]) * (whole - most) / kSlope;
  return bytes;
}

std::vector<std::vector<double>> PipelineRunner::stage_tables(const PipelineSpec& spec,
                                                              ScheduleKind schedule, Fill fill) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const size_t stages = spec.ranks.size();
  const auto plain = bytes_by_blocks(spec, schedule, Recompute::kNone);
  const auto again = bytes_by_blocks(spec, schedule, Recompute::kFull);
  std::vector<std::vector<double>> tables(stages);
  for (size_t i = 0; i < stages; ++i) {
    const int64_t limit = limit_of(spec.ranks[i]);
    const Passes& p = passes(model_.ranks().device_of(spec.ranks[i]), spec.grains_per_micro_batch);
    for (size_t n = 0; n < plain.size(); ++n) {
      const bool recomputes = plain[n][i] > limit;
      double seconds = static_cast<double>(n) * (p.forward[1] * (recomputes ? 2 : 1) +
                                                 p.backward_input[1] + p.backward_weight[1]);
      if (i == 0) seconds += p.forward[0] + p.backward_input[0] + p.backward_weight[0];
      if (i + 1 == stages) seconds += p.forward[2] + p.backward_input[2] + p.backward_weight[2];
      const int64_t lacks = std::max<int64_t>(0, std::min(plain[n][i], again[n][i]) - limit);
      double value = lacks > 0 ? kNever : seconds;
      if (fill == Fill::kLacking) value = static_cast<double>(lacks);
      const bool idle = n == 0 && i > 0 && i + 1 < stages;
      tables[i].push_back(idle ? kNever : value);
    }
  }
  return tables;
}

}  // namespace kente
