#pragma once

#include <vector>

#include "csrc/plan/drift.h"

namespace kente {

inline constexpr size_t kMostSettled = 16;

/// What several stretches of steps under one plan measured together: noise that each of them has
/// averages out.
struct SettledMeasurement {
  StepMeasurement mean;  // neighbours waited for: in the order of the first stretch
  /// How far the mean of a rank's own work may be off, over that mean: half of its 99 % confidence
  /// interval by Student's t. The largest of all ranks.
  double error = 0;
};

/// stretches: 2 .. kMostSettled, of the same ranks.
SettledMeasurement settle(const std::vector<StepMeasurement>& stretches);

}  // namespace kente
