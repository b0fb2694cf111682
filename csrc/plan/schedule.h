#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/plan/mesh.h"

namespace kente {

enum class ActionKind {
  kRecvActivation,
  kForward,
  kSendActivation,
  kLoss,
  kRecvGradient,
  kBackwardInput,
  kSendGradient,
  kBackwardWeight,
  kReduceBucket,
  kStep,
  kGatherParameters
};

/// One thing a rank does. Only the fields its kind needs are set. chunk is always the rank's own:
/// SendActivation of chunk c pairs with RecvActivation of c + 1, SendGradient of c with
/// RecvGradient of c - 1.
struct Action {
  ActionKind kind = ActionKind::kStep;
  int chunk = -1;        // index into the replica's chunks
  int micro_batch = -1;  // index into the replica's micro_batches
  int peer = -1;         // rank, for sends and receives
  int bucket = -1;       // index into Mesh::buckets

  bool operator==(const Action&) const = default;
};

/// "F2.0" for Forward of micro-batch 2 on chunk 0; "RA2.1<0", "SA2.0>1", "L2.3", "RG", "BI", "SG",
/// "BW" alike; "AR1" reduces bucket 1; "S" is the step; "GP1" gathers bucket 1. For tests, traces
/// and
/// --print-schedule.
std::string to_string(const Action& action);

/// One rank's step, in order. Under GPipe and 1F1B every list is sorted by one global order, in
/// which both ends of a message and all ends of a collective stand at the same place: even blocking
/// sends without buffers cannot deadlock, a runner may start a send and go on. Under zero-bubble a
/// send stands where its tensor is made and a receive where it is needed: a runner must start every
/// send and go on. What it has sent and nobody took is at most one message a micro-batch under way.
using ActionList = std::vector<Action>;

/// The whole step, one list per rank: forward and backward by the plan's schedule, then the rank's
/// buckets in the mesh's order, then one Step (spares only that), then, if the plan shards the
/// optimizer state, GatherParameters of its buckets in the same order. GPipe: all forwards, then
/// all backwards in reverse; any chunks. 1F1B: one chunk a rank, at most p - i micro-batches under
/// way on chunk i of p; throws UsageError for several. Gradients are sent before BackwardWeight,
/// buckets reduced once the rank has sent its last message. Zero-bubble: one chunk a rank, see
/// csrc/plan/zero_bubble.h. Source: Huang et al. 2019, arXiv:1811.06965; Narayanan et al. 2019,
/// arXiv:1806.03377; Qi et al. 2023, arXiv:2401.10241.
std::vector<ActionList> make_schedule(const Mesh& mesh, ScheduleKind kind);

/// Forward and Loss only, no Step: micro-batches 0 .. counts[r] - 1 on replica r (validation).
std::vector<ActionList> make_forward_schedule(const Mesh& mesh, const std::vector<int>& counts);

}  // namespace kente
