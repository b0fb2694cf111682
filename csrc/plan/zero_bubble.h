#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/plan.h"

namespace kente {

/// One pass of one micro-batch on a stage, where the backward is two passes.
struct StagePass {
  enum Kind { kForward, kBackwardInput, kBackwardWeight };
  Kind kind = kForward;
  int micro_batch = 0;

  bool operator==(const StagePass&) const = default;
};

/// What each stage of a pipeline does, in order, laid out along the clock from what passes and
/// messages take: backwards for inputs, which others wait for, and forwards in turn, backwards for
/// weights, which nobody waits for, where a stage would wait. At most under_way micro-batches are
/// between their forward and their backward for weights on any stage: p on p even stages is ZB-H1,
/// with the memory of 1F1B's first stage on all, 2p - 1 is ZB-H2. Nothing is asked of how even
/// stages are. Several greedy orders are laid out, 1F1B among them, and the one taken that ends
/// first. Costs O(p^2 micro_batches). Deterministic.
/// Source: Qi et al. 2023, arXiv:2401.10241.
/// times: by stage, passes at least 1.
std::vector<std::vector<StagePass>> zero_bubble_passes(const std::vector<PassTimes>& times,
                                                       int micro_batches, int64_t under_way);

}  // namespace kente
