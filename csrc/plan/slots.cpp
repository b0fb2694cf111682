#include "csrc/plan/slots.h"

#include <algorithm>

namespace kente {
namespace {

/// One sweep of all micro-batches through the chunks in the given order, greedily: in each slot a
/// rank runs, of its ready tasks, the one on the chunk latest in the order.
SlotTable sweep(const std::vector<MeshChunk>& chunks, const std::vector<int>& order,
                int micro_batches, bool backward) {
  const size_t count = order.size();
  std::vector<int> done(count, 0);  // micro-batches finished at each place of the order
  SlotTable table;
  while (done.back() < micro_batches) {
    std::vector<SlotTask> slot;
    std::vector<int> busy;
    const std::vector<int> before = done;
    for (size_t i = count; i-- > 0;) {
      const MeshChunk& chunk = chunks[static_cast<size_t>(order[i])];
      const int available = i == 0 ? micro_batches : before[i - 1];
      if (done[i] >= available) continue;
      if (std::find(busy.begin(), busy.end(), chunk.rank) != busy.end()) continue;
      busy.push_back(chunk.rank);
      const int micro_batch = backward ? micro_batches - 1 - done[i] : done[i];
      slot.push_back({.chunk = order[i], .micro_batch = micro_batch, .backward = backward});
      ++done[i];
    }
    table.push_back(slot);
  }
  return table;
}

}  // namespace

SlotTable forward_slots(const std::vector<MeshChunk>& chunks, int micro_batches) {
  std::vector<int> order;
  for (size_t c = 0; c < chunks.size(); ++c) order.push_back(static_cast<int>(c));
  return sweep(chunks, order, micro_batches, false);
}

SlotTable gpipe_slots(const std::vector<MeshChunk>& chunks, int micro_batches) {
  SlotTable table = forward_slots(chunks, micro_batches);
  std::vector<int> order;
  for (size_t c = chunks.size(); c-- > 0;) order.push_back(static_cast<int>(c));
  for (std::vector<SlotTask>& slot : sweep(chunks, order, micro_batches, true))
    table.push_back(std::move(slot));
  return table;
}

SlotTable one_f_one_b_slots(const std::vector<MeshChunk>& chunks, int micro_batches) {
  const int p = static_cast<int>(chunks.size());
  std::vector<int> forwards(chunks.size(), 0), backwards(chunks.size(), 0);
  SlotTable table;
  while (backwards.front() < micro_batches) {
    std::vector<SlotTask> slot;
    const std::vector<int> forwards_before = forwards;
    const std::vector<int> backwards_before = backwards;
    for (int c = 0; c < p; ++c) {
      const auto i = static_cast<size_t>(c);
      const int gradients = c == p - 1 ? forwards_before[i] : backwards_before[i + 1];
      const int inputs = c == 0 ? micro_batches : forwards_before[i - 1];
      if (backwards[i] < gradients) {
        slot.push_back({.chunk = c, .micro_batch = backwards[i]++, .backward = true});
      } else if (forwards[i] < inputs && forwards[i] - backwards[i] < p - c) {
        slot.push_back({.chunk = c, .micro_batch = forwards[i]++, .backward = false});
      }
    }
    table.push_back(slot);
  }
  return table;
}

}  // namespace kente
