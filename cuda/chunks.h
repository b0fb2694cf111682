#pragma once

#include <cstdint>
#include <vector>

namespace kente::cuda {

/// A piece of one of many tensors, for kernels that take them all in one launch. A block has one.
struct TensorChunk {
  int32_t tensor = 0;  // which of them
  int64_t begin = 0;   // its first element
};

/// Elements of a chunk, but for the last one of a tensor.
constexpr int64_t kChunkElements = 8192;

/// The chunks of tensors of so many elements, in order. Made once and copied to the device.
std::vector<TensorChunk> chunks_of(const std::vector<int64_t>& counts);

}  // namespace kente::cuda
