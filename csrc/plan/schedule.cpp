#include "csrc/plan/schedule.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/plan/slots.h"
#include "csrc/plan/zero_bubble.h"

namespace kente {
namespace {

/// Of a chunk for one micro-batch: three passes and the loss, two messages each way.
constexpr size_t kMostActions = 8;

/// Turns replicas' slots into its ranks' actions. A message is written to both its lists when
/// the slot of its consumer comes up; so every list is sorted by one global order.
class Writer {
 public:
  explicit Writer(std::vector<ActionList>& lists) : lists_(lists), pending_(lists.size()) {}

  void write(const MeshReplica& replica, const SlotTable& table) {
    chunks_ = replica.chunks;
    for (const MeshChunk& chunk : chunks_) {
      ActionList& list = lists_[static_cast<size_t>(chunk.rank)];
      list.reserve(list.size() + kMostActions * replica.micro_batches.size());
    }
    for (const std::vector<SlotTask>& slot : table) {
      // Gradients first: in 1F1B a stage that waits for a gradient is needed by its neighbour,
      // while an activation is not needed before that neighbour has sent its gradient.
      for (const SlotTask& task : slot)
        if (task.backward) receive(task);
      for (const SlotTask& task : slot)
        if (!task.backward) receive(task);
      for (const SlotTask& task : slot) compute(task);
    }
    for (const MeshChunk& chunk : chunks_) flush(chunk.rank);
  }

 private:
  const MeshChunk& chunk(int index) const { return chunks_[static_cast<size_t>(index)]; }
  bool is_last(int index) const { return static_cast<size_t>(index) + 1 == chunks_.size(); }

  void add(int rank, ActionKind kind, int chunk, int micro_batch, int peer = -1) {
    lists_[static_cast<size_t>(rank)].push_back(
        {.kind = kind, .chunk = chunk, .micro_batch = micro_batch, .peer = peer, .bucket = -1});
  }

  /// The message a task waits for, on both ends.
  void receive(const SlotTask& task) {
    if (task.backward ? is_last(task.chunk) : task.chunk == 0) return;
    const int from_chunk = task.backward ? task.chunk + 1 : task.chunk - 1;
    const int from = chunk(from_chunk).rank;
    const int to = chunk(task.chunk).rank;
    flush(to);  // rather than wait with work left
    add(from, task.backward ? ActionKind::kSendGradient : ActionKind::kSendActivation, from_chunk,
        task.micro_batch, to);
    add(to, task.backward ? ActionKind::kRecvGradient : ActionKind::kRecvActivation, task.chunk,
        task.micro_batch, from);
  }

  void compute(const SlotTask& task) {
    const int rank = chunk(task.chunk).rank;
    flush(rank);
    if (task.backward) {
      add(rank, ActionKind::kBackwardInput, task.chunk, task.micro_batch);
      pending_[static_cast<size_t>(rank)].push_back({.kind = ActionKind::kBackwardWeight,
                                                     .chunk = task.chunk,
                                                     .micro_batch = task.micro_batch,
                                                     .peer = -1,
                                                     .bucket = -1});
      return;
    }
    add(rank, ActionKind::kForward, task.chunk, task.micro_batch);
    if (is_last(task.chunk)) add(rank, ActionKind::kLoss, task.chunk, task.micro_batch);
  }

  /// BackwardWeight is held back until the gradient has been sent: nobody waits for it.
  void flush(int rank) {
    ActionList& pending = pending_[static_cast<size_t>(rank)];
    ActionList& list = lists_[static_cast<size_t>(rank)];
    list.insert(list.end(), pending.begin(), pending.end());
    pending.clear();
  }

  std::vector<MeshChunk> chunks_;  // of the replica being written
  std::vector<ActionList>& lists_;
  std::vector<ActionList> pending_;  // per rank: at most one BackwardWeight
};

/// Of alike replicas one is laid out.
class ZeroBubbleLayouts {
 public:
  const std::vector<std::vector<StagePass>>& of(const MeshReplica& replica) {
    std::vector<PassTimes> times;
    for (const MeshChunk& chunk : replica.chunks) times.push_back(chunk.times);
    const int count = static_cast<int>(replica.micro_batches.size());
    const auto [entry, fresh] =
        known_.try_emplace(std::tuple(std::move(times), count, replica.under_way));
    const auto& [stages, micro_batches, under_way] = entry->first;
    if (fresh) entry->second = zero_bubble_passes(stages, micro_batches, under_way);
    return entry->second;
  }

 private:
  std::map<std::tuple<std::vector<PassTimes>, int, int64_t>, std::vector<std::vector<StagePass>>>
      known_;
};

/// A zero-bubble replica's actions: a rank sends what it has at once and receives what it needs at
/// the last moment.
void write_zero_bubble(const MeshReplica& replica, ZeroBubbleLayouts& layouts,
                       std::vector<ActionList>& lists) {
  const auto& passes = layouts.of(replica);
  const int last = static_cast<int>(replica.chunks.size()) - 1;
  for (int chunk = 0; chunk <= last; ++chunk) {
    const auto rank_of = [&](int other) { return replica.chunks[static_cast<size_t>(other)].rank; };
    ActionList& list = lists[static_cast<size_t>(rank_of(chunk))];
    for (const StagePass& pass : passes[static_cast<size_t>(chunk)]) {
      const auto add = [&](ActionKind kind, int neighbour) {
        list.push_back({.kind = kind,
                        .chunk = chunk,
                        .micro_batch = pass.micro_batch,
                        .peer = neighbour < 0 ? -1 : rank_of(neighbour),
                        .bucket = -1});
      };
      if (pass.kind == StagePass::kForward) {
        if (chunk > 0) add(ActionKind::kRecvActivation, chunk - 1);
        add(ActionKind::kForward, -1);
        chunk < last ? add(ActionKind::kSendActivation, chunk + 1) : add(ActionKind::kLoss, -1);
      } else if (pass.kind == StagePass::kBackwardInput) {
        if (chunk < last) add(ActionKind::kRecvGradient, chunk + 1);
        add(ActionKind::kBackwardInput, -1);
        if (chunk > 0) add(ActionKind::kSendGradient, chunk - 1);
      } else {
        add(ActionKind::kBackwardWeight, -1);
      }
    }
  }
}

/// An order of slots for the other kinds.
SlotTable slots_of(const MeshReplica& replica, ScheduleKind kind) {
  const int count = static_cast<int>(replica.micro_batches.size());
  return kind == ScheduleKind::kGPipe ? gpipe_slots(replica.chunks, count)
                                      : one_f_one_b_slots(replica.chunks, count);
}

bool has_one_chunk_a_rank(const MeshReplica& replica) {
  std::vector<int> ranks;
  for (const MeshChunk& chunk : replica.chunks) ranks.push_back(chunk.rank);
  std::sort(ranks.begin(), ranks.end());
  return std::adjacent_find(ranks.begin(), ranks.end()) == ranks.end();
}

/// One action a bucket to each of its holders, in the mesh's order.
void add_collectives(const Mesh& mesh, ActionKind kind, std::vector<ActionList>& lists) {
  for (size_t b = 0; b < mesh.buckets.size(); ++b)
    for (const int holder : mesh.buckets[b].holders)
      lists[static_cast<size_t>(holder)].push_back({.kind = kind,
                                                    .chunk = -1,
                                                    .micro_batch = -1,
                                                    .peer = -1,
                                                    .bucket = static_cast<int>(b)});
}

const char* prefix_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kRecvActivation:
      return "RA";
    case ActionKind::kForward:
      return "F";
    case ActionKind::kSendActivation:
      return "SA";
    case ActionKind::kLoss:
      return "L";
    case ActionKind::kRecvGradient:
      return "RG";
    case ActionKind::kBackwardInput:
      return "BI";
    case ActionKind::kSendGradient:
      return "SG";
    case ActionKind::kBackwardWeight:
      return "BW";
    case ActionKind::kReduceBucket:
      return "AR";
    case ActionKind::kStep:
      return "S";
    case ActionKind::kGatherParameters:
      return "GP";
  }
  throw InternalError("schedule: unknown action " + std::to_string(static_cast<int>(kind)));
}

}  // namespace

std::string to_string(const Action& action) {
  std::string text = prefix_of(action.kind);
  if (action.kind == ActionKind::kStep) return text;
  if (action.kind == ActionKind::kReduceBucket || action.kind == ActionKind::kGatherParameters)
    return text + std::to_string(action.bucket);
  text += std::to_string(action.micro_batch) + "." + std::to_string(action.chunk);
  if (action.peer < 0) return text;
  const bool sends =
      action.kind == ActionKind::kSendActivation || action.kind == ActionKind::kSendGradient;
  return text + (sends ? ">" : "<") + std::to_string(action.peer);
}

std::vector<ActionList> make_schedule(const Mesh& mesh, ScheduleKind kind) {
  std::vector<ActionList> lists(static_cast<size_t>(mesh.num_ranks));
  Writer writer(lists);
  ZeroBubbleLayouts layouts;
  for (size_t r = 0; r < mesh.replicas.size(); ++r) {
    const MeshReplica& replica = mesh.replicas[r];
    if (kind != ScheduleKind::kGPipe && !has_one_chunk_a_rank(replica))
      throw UsageError(
          "plan: replica " + std::to_string(r) +
          " gives a rank several layer ranges: use schedule GPIPE, or one range a rank");
    if (kind == ScheduleKind::kZeroBubble) {
      write_zero_bubble(replica, layouts, lists);
    } else {
      writer.write(replica, slots_of(replica, kind));
    }
  }
  // All messages of a rank stand before its collectives, and those in one order: a rank that waits
  // in a collective holds up nobody's message.
  add_collectives(mesh, ActionKind::kReduceBucket, lists);
  for (ActionList& list : lists) list.push_back({});
  if (mesh.shard_optimizer) add_collectives(mesh, ActionKind::kGatherParameters, lists);
  return lists;
}

std::vector<ActionList> make_forward_schedule(const Mesh& mesh, const std::vector<int>& counts) {
  KENTE_CHECK(counts.size() == mesh.replicas.size(),
              std::to_string(counts.size()) + " counts for " +
                  std::to_string(mesh.replicas.size()) + " replicas");
  std::vector<ActionList> lists(static_cast<size_t>(mesh.num_ranks));
  Writer writer(lists);
  for (size_t r = 0; r < mesh.replicas.size(); ++r)
    writer.write(mesh.replicas[r], forward_slots(mesh.replicas[r].chunks, counts[r]));
  return lists;
}

}  // namespace kente
