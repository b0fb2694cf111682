#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "csrc/config/recipe.h"

namespace kente {

/// Judges every step by its loss and its gradient norm, and remembers which data was given up. What
/// it is told is equal on all ranks, so all decide alike. Its state belongs to the training: it is
/// stored with every checkpoint. A step whose gradient is not finite is not applied. Spikes in a
/// row are undone: training goes back to an older stored step and leaves out the data since.
/// Source: Chowdhery et al. 2022, arXiv:2204.02311, section 5.1.
class LossGuard {
 public:
  explicit LossGuard(const GuardConfig& config) : config_(config) {}
  /// Throws FormatError for a text that state() did not write.
  LossGuard(const GuardConfig& config, const std::string& state);

  struct Step {
    int64_t step = 0;
    bool applied = true;  // false: its gradient was not finite
    double loss = 0;
    double grad_norm = 0;
  };
  enum class Verdict { kGoOn, kRollBack, kStop };
  struct Judgement {
    Verdict verdict = Verdict::kGoOn;
    int64_t at_most = 0;  // roll back to the newest stored step up to this one; 0: the start
    std::string reason;   // empty: nothing was wrong
  };
  Judgement judge(const Step& step);

  /// Training goes on after step `to`; the data of (to, from] is left out. The loss curve of the
  /// steps that are undone is forgotten.
  void rolled_back(int64_t from, int64_t to);

  /// Whose data a step uses: step s uses what step data_step(s) of an undisturbed run would.
  int64_t data_step(int64_t step) const;

  /// A line of text without newline.
  std::string state() const;

 private:
  struct Sample {
    int64_t step = 0;
    double loss = 0, grad_norm = 0;
  };
  /// From step `first` on, data is shifted by `shift` steps.
  struct Skip {
    int64_t first = 0, shift = 0;
  };
  std::string spike(const Step& step) const;
  Judgement give_up_or_roll_back(int64_t step, int64_t bad_steps, const std::string& reason) const;

  GuardConfig config_;
  std::deque<Sample> window_;         // good steps, oldest first
  std::vector<Skip> skips_;           // ascending
  std::vector<int64_t> rollbacks_;    // the steps that ended in one
  int64_t spikes_ = 0, skipped_ = 0;  // in a row
};

/// Where training goes back to from a step that ended bad_steps bad ones: the same on every plan,
/// whatever else is stored. The trainer stores every step that is a multiple of rollback_steps and
/// keeps it until rollback_point() has moved on.
int64_t rollback_point(const GuardConfig& config, int64_t step, int64_t bad_steps);

}  // namespace kente
