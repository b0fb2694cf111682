#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kente {

/// Seconds of one layer for a micro-batch of one grain.
struct ImitatedLayer {
  double forward = 0;
  double loss = 0;  // head only
  double backward_input = 0;
  double backward_weight = 0;

  bool operator==(const ImitatedLayer&) const = default;
};

/// A rank that waits until its device would have finished. One grain takes the layers' seconds /
/// speed; k grains take fixed + (1 - fixed) k^exponent times that.
struct ImitatedRank {
  std::string kind;
  bool waits = false;  // false: no times are given, it computes at its own speed
  ImitatedLayer embedding, block, head;
  double speed = 1;
  double fixed = 0;
  double exponent = 1;
  double noise = 0;  // every pass of every layer is multiplied by 1 +- up to this
  int64_t drift_after_steps = 0;
  double drift_factor = 1;
  int64_t drift_for_steps = 0;  // 0: for ever
  int64_t memory_bytes = 0;     // 0: what the machine really has

  bool operator==(const ImitatedRank&) const = default;
};

/// Unequal machines out of equal ones; immutable after validation.
struct Imitation {
  uint64_t seed = 1;
  std::vector<ImitatedRank> ranks;

  /// Throws UsageError when there are fewer imitated ranks than that.
  const ImitatedRank& rank(int rank) const;

  bool operator==(const Imitation&) const = default;
};

/// Parses and validates. Throws UsageError "file:line:column: what; what to do".
Imitation parse_imitation(const std::string& text, const std::string& file);
Imitation load_imitation(const std::string& path);

/// Protobuf text, one entry a rank: parse_imitation(to_text(i)) == i for a valid one.
std::string to_text(const Imitation& imitation);

}  // namespace kente
