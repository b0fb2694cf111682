#include "csrc/train/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/failpoint.h"

namespace kente {

Step::Step(const Recipe& recipe, const Plan& plan, const Mesh& mesh, Communicator& world,
           Parameters& parameters, AdamW& optimizer, double timeout_seconds, Communicator* tensors)
    : recipe_(recipe),
      mesh_(mesh),
      world_(world),
      parameters_(parameters),
      optimizer_(optimizer),
      timeout_seconds_(timeout_seconds),
      schedule_(make_schedule(mesh, plan.schedule)),
      comms_(mesh, tensors ? *tensors : world),
      reducer_(recipe, mesh, parameters, comms_, world.rank()),
      runner_(recipe, mesh, plan, world, parameters, timeout_seconds, tensors),
      scales_(plan) {
  const int replica = mesh.replica_of(world.rank());
  if (replica >= 0)
    for (const MeshMicroBatch& m : mesh.replicas[static_cast<size_t>(replica)].micro_batches)
      sizes_.push_back(m.grains * recipe.grain_samples);
}

StepReport Step::run(int64_t step, std::vector<MicroBatch> batches,
                     const std::function<RankSays()>& says) {
  const int64_t begin = now_ns();
  StepReport report{.step = step};
  Vote vote;
  bool again = false;
  PipeRunner::Hooks hooks;
  hooks.sink = &reducer_;
  hooks.reduce = [&](int bucket) { reducer_.reduce(bucket); };
  hooks.loss = [&](int, const LossSums& sums) {
    for (const double nats : sums.nats) vote.loss.add(nats, recipe_.grains_per_step());
    for (const int64_t tokens : sums.tokens) vote.tokens += tokens;
  };
  hooks.step = [&] {
    const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
    const FixedNorm mine = reducer_.finish(deadline);
    again = overflowed(deadline);
    again ? runner_.clock().waited() : apply(says ? says() : RankSays(), mine, vote, report);
  };
  hooks.gather = [&](int bucket) { gather(bucket); };
  const auto attempt = [&](std::vector<MicroBatch> own) {
    again = false;
    vote = {};
    const double scale = scales_.of(world_.rank());
    runner_.scale_gradients(scale);
    runner_.clock().time_optimizer([&] { reducer_.begin_step(scale); });
    runner_.run(schedule_[static_cast<size_t>(world_.rank())], sizes_, std::move(own), hooks);
  };
  runner_.clock().begin_step();
  if (scales_.any()) {
    attempt(batches);
    for (; again; ++report.repeats) attempt(batches);
  } else {
    attempt(std::move(batches));
  }
  if (report.applied) scales_.applied();
  report.seconds = seconds_since(begin);
  return report;
}

bool Step::overflowed(const Deadline& deadline) {
  if (!scales_.any()) return false;
  std::vector<int64_t> by_rank(static_cast<size_t>(world_.size()));
  if (scales_.of(world_.rank()) != 1 && runner_.incoming_finite() &&
      !(runner_.outgoing_finite() && reducer_.own_finite()))
    by_rank[static_cast<size_t>(world_.rank())] = 1;
  world_
      .all_reduce({.data = by_rank.data(),
                   .count = static_cast<int64_t>(by_rank.size()),
                   .dtype = DType::kI64},
                  ReduceOp::kSum)
      ->wait(deadline);
  return scales_.halve(by_rank);
}

void Step::apply(const RankSays& says, const FixedNorm& mine, Vote& vote, StepReport& report) {
  const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
  const int64_t step = report.step;
  vote.poison += mine.poison;
  vote.norm_whole = mine.whole;
  vote.norm_high = mine.high;
  vote.norm_low = mine.low;
  vote.stop = says.stop;
  vote.snapshot_busy = says.snapshot_busy;
  vote.snapshots_cost = says.snapshots_cost;
  vote.snapshots_failed = says.snapshots_failed;
  vote.saving = says.saving;
  vote.copying = says.copying;
  vote.replan = says.replan;
  constexpr int64_t kFields = sizeof(Vote) / sizeof(int64_t);
  world_.all_reduce({.data = &vote, .count = kFields, .dtype = DType::kI64}, ReduceOp::kSum)
      ->wait(deadline);
  runner_.clock().waited();
  report.any = {.stop = vote.stop > 0,
                .snapshot_busy = vote.snapshot_busy > 0,
                .snapshots_cost = vote.snapshots_cost > 0,
                .snapshots_failed = vote.snapshots_failed > 0,
                .saving = vote.saving > 0,
                .copying = vote.copying > 0,
                .replan = vote.replan > 0};
  report.tokens = vote.tokens;
  report.lr = learning_rate(recipe_, step);
  report.applied = vote.poison == 0 && vote.loss.poison == 0;
  if (!report.applied) {
    report.loss = std::numeric_limits<float>::quiet_NaN();
    report.grad_norm = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  if (vote.tokens == 0)
    throw UsageError("step " + std::to_string(step) +
                     " has no target that counts; look at the data's loss mask");

  // Gradients are sums over tokens times 1 / padded_tokens(); this makes them the mean over tokens.
  const double to_mean = padded_tokens(recipe_) / static_cast<double>(vote.tokens);
  const FixedNorm total{.whole = vote.norm_whole, .high = vote.norm_high, .low = vote.norm_low};
  report.loss = static_cast<float>(vote.loss.total() / static_cast<double>(vote.tokens));
  report.grad_norm = total.root() * to_mean;
  // As torch.nn.utils.clip_grad_norm_ does it.
  const double clip = recipe_.optimizer.clip_norm;
  const double keep = clip > 0 ? std::min(1.0, clip / (report.grad_norm + 1e-6)) : 1.0;
  for (const int group : parameters_.groups()) {
    if (parameters_.layout(group).size == 0) continue;
    KENTE_FAILPOINT("optimizer.group");
    const bool copied = optimizer_.update(group, reducer_.gradient(group),
                                          static_cast<float>(to_mean * keep), report.lr, step);
    // Of a sharded plan's weights most are still to be gathered.
    if (!mesh_.shard_optimizer && !copied) parameters_.refresh(group);
  }
}

void Step::gather(int bucket) {
  const Bucket& gathered = mesh_.buckets[static_cast<size_t>(bucket)];
  Communicator* comm = comms_.of(bucket);
  std::vector<std::unique_ptr<Work>> works;
  for (const int group : gathered.groups) {
    if (!comm) break;  // this rank updated all of it
    const std::vector<ElementRange> shards =
        optimizer_shards(gathered, parameters_.layout(group).size);
    float* master = parameters_.master(group).data_ptr<float>();
    for (size_t holder = 0; holder < shards.size(); ++holder)
      if (shards[holder].size() > 0)
        works.push_back(comm->broadcast({.data = master + shards[holder].begin,
                                         .count = shards[holder].size(),
                                         .dtype = DType::kF32},
                                        static_cast<int>(holder)));
  }
  const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
  for (auto& work : works) work->wait(deadline);
  for (const int group : gathered.groups) parameters_.refresh(group);
}

std::vector<LossSums> Step::evaluate(const std::vector<int>& counts,
                                     const std::vector<int64_t>& sizes,
                                     std::vector<MicroBatch> batches) {
  std::vector<LossSums> sums(sizes.size());
  PipeRunner::Hooks hooks;
  hooks.loss = [&](int micro_batch, const LossSums& found) {
    sums[static_cast<size_t>(micro_batch)] = found;
  };
  const auto schedule = make_forward_schedule(mesh_, counts);
  runner_.run_forward(schedule[static_cast<size_t>(world_.rank())], sizes, std::move(batches),
                      hooks);
  return sums;
}

}  // namespace kente
