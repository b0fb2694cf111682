#include "cuda/chunks.h"

#include <cstddef>

namespace kente::cuda {

std::vector<TensorChunk> chunks_of(const std::vector<int64_t>& counts) {
  std::vector<TensorChunk> chunks;
  for (std::size_t tensor = 0; tensor < counts.size(); ++tensor)
    for (int64_t begin = 0; begin < counts[tensor]; begin += kChunkElements)
      chunks.push_back({.tensor = static_cast<int32_t>(tensor), .begin = begin});
  return chunks;
}

}  // namespace kente::cuda
