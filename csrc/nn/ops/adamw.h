#pragma once

#include <cstdint>

namespace kente {

/// Elements that one step of AdamW updates.
struct AdamWPiece {
  const float* gradient = nullptr;  // [count]
  float* master = nullptr;          // [count], updated
  float* exp_avg = nullptr;         // [count], updated
  float* exp_avg_sq = nullptr;      // [count], updated
  void* copy = nullptr;             // [count] of a 16-bit compute dtype; null: none
  int64_t count = 0;
  double decay = 0;  // lr weight_decay; 0 for vectors
};

struct AdamWFactors {
  float gradient = 1;
  float beta1 = 0, beta2 = 0, epsilon = 0;
  float step_size = 0;   // lr / (1 - b1^t)
  float root_scale = 0;  // 1 / sqrt(1 - b2^t)
};

/// On the CPU; see csrc/train/optimizer.h. copy is left alone.
void adamw(const AdamWPiece& piece, const AdamWFactors& factors);

}  // namespace kente
