#pragma once

#include "cuda/queue.h"

namespace kente::cuda {

// Blocks of integers for slow links: what a block cannot say is kept and said next time.

enum class WireType { kInt8, kInt4 };

/// Elements that share a scale.
constexpr int64_t kWireBlock = 64;

/// Bytes of the integers of count elements; two of int4 to a byte, the lower half first. Whole
/// blocks, of which the last is filled up with zeros.
int64_t wire_bytes(WireType type, int64_t count);
/// How many scales.
int64_t wire_blocks(int64_t count);

/// With x = values + error, by blocks of 64: scale = max |x| / M, q = rint(x / scale) in -M..M, and
/// error = x - scale q stays behind; M is 127, or 7 for int4. A block of zeros has scale 0; one
/// that is not finite has scale NaN, so that the receiver sees it, and its error becomes 0. Moves
/// 12 bytes an element, and what goes out. Source: error feedback, Seide et al. 2014, Interspeech,
/// section 3.
struct Quantize {
  WireType type = WireType::kInt8;
  const float* values = nullptr;  // [count]
  float* error = nullptr;         // [count], updated
  int64_t count = 0;
  uint8_t* integers = nullptr;  // [wire_bytes()]
  float* scales = nullptr;      // [wire_blocks()]
};
cudaError_t quantize(const Quantize& op, const Queue& queue);

/// values[i] = scale q, in fp32.
struct Dequantize {
  WireType type = WireType::kInt8;
  const uint8_t* integers = nullptr;  // [wire_bytes()]
  const float* scales = nullptr;      // [wire_blocks()]
  int64_t count = 0;
  float* values = nullptr;  // [count]
};
cudaError_t dequantize(const Dequantize& op, const Queue& queue);

}  // namespace kente::cuda
