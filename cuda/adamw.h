#pragma once

#include "cuda/chunks.h"
#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// One tensor of an optimizer step. All pointers aligned to 16 bytes.
struct AdamWTensor {
  const float* grad = nullptr;  // [count]
  float* master = nullptr;      // [count], updated
  void* m = nullptr;            // [count] of AdamW::state, updated
  void* v = nullptr;            // [count] of AdamW::state, updated
  void* copy = nullptr;         // [count] of AdamW::copy: the new master, rounded
  int64_t count = 0;
  float decay = 0;  // lr weight_decay, or 0 for a vector
};

enum class WeightCopy { kNone, kF16, kBF16 };

/// AdamW over many tensors in one launch, in fp32, with g = factor grad:
///   m = b1 m + (1 - b1) g      v = b2 v + (1 - b2) g^2
///   p = p (1 - decay) - step_size m / (sqrt(v) root_scale + eps)
/// where step_size = lr / (1 - b1^t) and root_scale = 1 / sqrt(1 - b2^t). Moves 28 bytes a
/// parameter, 20 with m and v in bf16, and 2 for a copy.
/// Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
struct AdamW {
  DataType state = DataType::kF32;  // of m and v: f32 or bf16
  WeightCopy copy = WeightCopy::kNone;
  const AdamWTensor* tensors = nullptr;  // on the device
  const TensorChunk* chunks = nullptr;   // on the device: chunks_of the tensors' counts
  int64_t chunk_count = 0;
  float factor = 1;
  float beta1 = 0, beta2 = 0, eps = 0;
  float step_size = 0, root_scale = 0;
};
cudaError_t adamw(const AdamW& op, const Queue& queue);

}  // namespace kente::cuda
