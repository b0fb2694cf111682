#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/config/plan.h"

namespace kente {

/// Dynamic loss scaling. Inside a stage that computes in f16 gradients are kept 2^k times as large
/// as they are, so that small ones do not vanish; k is the stage's own. A stage whose gradients
/// overflow halves its scale, and the step is run again: to skip it would change the training.
/// After kCleanSteps without that the scale doubles. All ranks know every scale and change it by
/// the same votes.
/// Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2.
class GradientScales {
 public:
  static constexpr int kFirst = 16, kMost = 24;
  static constexpr int64_t kCleanSteps = 2000;

  explicit GradientScales(const Plan& plan);

  /// Whether some stage computes in f16.
  bool any() const { return !stages_.empty(); }
  /// 2^k of a rank's stage; 1 where it does not compute in f16.
  double of(int rank) const;
  /// overflowed[rank]: not 0 where that rank's stage made gradients that are not finite out of
  /// finite ones. True: scales were halved, run the step again. False: the step counts, or no scale
  /// is left to halve.
  bool halve(const std::vector<int64_t>& overflowed);
  /// A step was applied.
  void applied();

  /// For checkpoints.
  std::string state() const;
  /// As they were then. A stage that is not in the text, which may be empty, starts anew. Throws
  /// FormatError.
  void resume(const std::string& state);

 private:
  struct Stage {
    int rank = 0;
    std::string name;  // replica and layers
    int exponent = 0;
    int64_t clean = 0;  // steps since the last change
  };
  std::vector<Stage> stages_;  // those that compute in f16
};

}  // namespace kente
