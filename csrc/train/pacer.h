#pragma once

#include <cstdint>
#include <functional>

#include "csrc/base/backoff.h"
#include "csrc/base/clock.h"
#include "csrc/config/imitation.h"
#include "csrc/nn/layer_op.h"

namespace kente {

/// Time as a pacer sees it. A test brings its own, which need not pass.
struct PaceClock {
  std::function<int64_t()> now = now_ns;
  /// Returns then or somewhat earlier: the caller polls in between.
  std::function<void(int64_t at_ns)> nap = nap_until;
};

/// Makes a rank take the time an imitated device would: after each layer's pass it waits until that
/// device would have finished it. Targets add up, so that waking late makes the next wait shorter
/// and no layer longer.
class Pacer {
 public:
  struct Options {
    ImitatedRank device;
    uint64_t seed = 1;
    int rank = 0;
    int64_t grain_samples = 1;
    int64_t steps = 0;               // done before
    std::function<void()> progress;  // called while it waits; may be empty
    PaceClock clock = {};
  };
  explicit Pacer(Options options);

  /// Computing begins now, after waiting for others.
  void begin();
  /// A layer has finished a pass: waits for its device. May be called on any rank; returns at once
  /// where none is imitated.
  void layer(const LayerOp& op);
  /// An optimizer step ended: drift counts them.
  void step() { ++steps_; }

  /// What the next call of layer would take, in seconds, noise included.
  double seconds(const LayerOp& op) const;
  /// What the real computation took longer than the device would, over what that would take in all.
  double late_share() const;

 private:
  Options options_;
  int64_t target_ns_ = 0;  // when the device finished the last pass
  int64_t behind_ns_ = 0;  // by how much the last pass ended after its target
  int64_t ops_ = 0, steps_;
  double late_seconds_ = 0, imitated_seconds_ = 0;
};

}  // namespace kente
