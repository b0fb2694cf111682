#include "csrc/plan/zero_bubble.h"

#include <algorithm>
#include <limits>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr int64_t kNotKnown = std::numeric_limits<int64_t>::max();

/// How a stage chooses what it does next.
struct Policy {
  enum Order {
    kOneFOneB,   // as 1F1B, weights at once
    kAlternate,  // after a backward the next forward if it is there, else the next backward
    kMakeRoom    // the same, and weights before that where too much is under way for the forward
  };
  Order order;
  /// A message that is due within so many quarters of a backward for weights is waited for.
  int64_t patience;
};

constexpr Policy kPolicies[] = {{Policy::kOneFOneB, 0},  {Policy::kAlternate, 0},
                                {Policy::kAlternate, 1}, {Policy::kAlternate, 2},
                                {Policy::kMakeRoom, 0},  {Policy::kMakeRoom, 1},
                                {Policy::kMakeRoom, 2}};

/// One layout, along the clock.
class LaidOut {
 public:
  LaidOut(const std::vector<PassTimes>& times, int micro_batches, int64_t under_way,
          const Policy& policy)
      : times_(times),
        micro_batches_(static_cast<size_t>(micro_batches)),
        under_way_(static_cast<size_t>(under_way)),
        policy_(policy),
        stages_(times.size()) {}

  /// When the last stage has ended.
  int64_t run() {
    for (size_t left = stages_.size() * micro_batches_ * 3; left > 0;) {
      const size_t stage = next_free();
      KENTE_CHECK(stages_[stage].free != kNotKnown, "a pipeline that waits for itself");
      left -= act(stage) ? 1 : 0;
    }
    int64_t end = 0;
    for (const Stage& stage : stages_) end = std::max(end, stage.end);
    return end;
  }

  std::vector<std::vector<StagePass>> take() {
    std::vector<std::vector<StagePass>> passes;
    for (Stage& stage : stages_) passes.push_back(std::move(stage.passes));
    return passes;
  }

 private:
  struct Stage {
    int64_t free = 0;  // when it looks for work next
    int64_t end = 0;   // of its last pass
    /// When the results of the passes begun so far are there, by micro-batch.
    std::vector<int64_t> forwards, backwards;
    size_t weights = 0;  // backwards for weights begun
    bool after_backward = false;
    std::vector<StagePass> passes;

    size_t kept() const { return forwards.size() - weights; }
    bool owes_weights() const { return weights < backwards.size(); }
  };

  /// Of those that look for work first the one nearest to the loss.
  size_t next_free() const {
    size_t found = stages_.size() - 1;
    for (size_t stage = found; stage-- > 0;)
      if (stages_[stage].free < stages_[found].free) found = stage;
    return found;
  }

  /// When the next forward, or backward, has what it needs; kNotKnown before its producer began.
  int64_t forward_ready(size_t index) const {
    const size_t next = stages_[index].forwards.size();
    if (next == micro_batches_) return kNotKnown;
    if (index == 0) return 0;
    const Stage& before = stages_[index - 1];
    return next < before.forwards.size() ? before.forwards[next] + times_[index - 1].message
                                         : kNotKnown;
  }
  int64_t backward_ready(size_t index) const {
    const Stage& stage = stages_[index];
    const size_t next = stage.backwards.size();
    if (next == stage.forwards.size()) return kNotKnown;
    if (index + 1 == stages_.size()) return stage.forwards[next];
    const Stage& after = stages_[index + 1];
    return next < after.backwards.size() ? after.backwards[next] + times_[index].message
                                         : kNotKnown;
  }

  /// Begins a pass, or finds out when there may be one to begin.
  bool act(size_t index) {
    return policy_.order == Policy::kOneFOneB ? act_in_order(index) : act_by_need(index);
  }

  bool act_in_order(size_t index) {
    const Stage& stage = stages_[index];
    if (stage.owes_weights()) return begin(index, StagePass::kBackwardWeight);
    const bool more = stage.forwards.size() < micro_batches_ &&
                      stage.kept() < std::min(under_way_, stages_.size() - index);
    return begin_or_rest(index, more ? StagePass::kForward : StagePass::kBackwardInput,
                         more ? forward_ready(index) : backward_ready(index));
  }

  bool act_by_need(size_t index) {
    const Stage& stage = stages_[index];
    const int64_t now = stage.free;
    const int64_t arrival = forward_ready(index), backward = backward_ready(index);
    const bool full = stage.kept() >= under_way_;
    const bool forward = arrival <= now && !full;
    const bool make_room =
        policy_.order == Policy::kMakeRoom && arrival <= now && full && stage.owes_weights();
    if (stage.after_backward && forward) return begin(index, StagePass::kForward);
    if (stage.after_backward && make_room) return begin(index, StagePass::kBackwardWeight);
    if (backward <= now) return begin(index, StagePass::kBackwardInput);
    if (forward) return begin(index, StagePass::kForward);
    if (make_room) return begin(index, StagePass::kBackwardWeight);
    const int64_t due = std::min(full ? kNotKnown : arrival, backward);
    const int64_t weights = times_[index].backward_weight;
    if (stage.owes_weights() && (due == kNotKnown || 4 * (due - now) >= policy_.patience * weights))
      return begin(index, StagePass::kBackwardWeight);
    stages_[index].free = due;
    return false;
  }

  bool begin_or_rest(size_t index, StagePass::Kind kind, int64_t ready) {
    if (ready <= stages_[index].free) return begin(index, kind);
    stages_[index].free = ready;
    return false;
  }

  bool begin(size_t index, StagePass::Kind kind) {
    Stage& stage = stages_[index];
    const PassTimes& times = times_[index];
    size_t micro_batch = stage.weights;
    if (kind == StagePass::kForward) {
      micro_batch = stage.forwards.size();
      stage.end = stage.free + times.forward;
      stage.forwards.push_back(stage.end);
    } else if (kind == StagePass::kBackwardInput) {
      micro_batch = stage.backwards.size();
      stage.end = stage.free + times.backward_input;
      stage.backwards.push_back(stage.end);
    } else {
      stage.end = stage.free + times.backward_weight;
      ++stage.weights;
    }
    if (kind != StagePass::kBackwardWeight)
      stage.after_backward = kind == StagePass::kBackwardInput;
    stage.free = stage.end;
    stage.passes.push_back({.kind = kind, .micro_batch = static_cast<int>(micro_batch)});
    // A neighbour that rests has something else to wait for now.
    for (const size_t neighbour : {index - 1, index + 1})
      if (neighbour < stages_.size()) stages_[neighbour].free = stages_[neighbour].end;
    return true;
  }

  const std::vector<PassTimes>& times_;
  const size_t micro_batches_, under_way_;
  const Policy policy_;
  std::vector<Stage> stages_;
};

}  // namespace

std::vector<std::vector<StagePass>> zero_bubble_passes(const std::vector<PassTimes>& times,
                                                       int micro_batches, int64_t under_way) {
  KENTE_CHECK(!times.empty() && micro_batches > 0 && under_way > 0,
              "a pipeline without stages or micro-batches");
  std::vector<std::vector<StagePass>> best;
  int64_t soonest = kNotKnown;
  for (const Policy& policy : kPolicies) {
    LaidOut layout(times, micro_batches, under_way, policy);
    const int64_t end = layout.run();
    if (end >= soonest) continue;
    soonest = end;
    best = layout.take();
  }
  return best;
}

}  // namespace kente
