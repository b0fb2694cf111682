#pragma once

#include <vector>

#include "csrc/plan/mesh.h"

namespace kente {

/// A forward or backward of one micro-batch on one chunk.
struct SlotTask {
  int chunk = 0;
  int micro_batch = 0;
  bool backward = false;
};

/// Compute laid out in slots of equal length: what runs in each, at most one task a rank. A task
/// that needs another's result stands in a later slot. The slots are what gives a schedule its
/// global order.
using SlotTable = std::vector<std::vector<SlotTask>>;

/// Forwards only: each rank takes, of what is ready, the chunk furthest along.
SlotTable forward_slots(const std::vector<MeshChunk>& chunks, int micro_batches);

/// All forwards, then all backwards, the last micro-batch first.
SlotTable gpipe_slots(const std::vector<MeshChunk>& chunks, int micro_batches);

/// Backwards as soon as they are ready, forwards while fewer than p - i micro-batches are under way
/// on chunk i. One chunk a rank.
SlotTable one_f_one_b_slots(const std::vector<MeshChunk>& chunks, int micro_batches);

}  // namespace kente
