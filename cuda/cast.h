#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// to[i] = factor from[i], rounded once. Moves count elements of either dtype.
struct CastScale {
  DataType from_dtype = DataType::kF32;
  DataType to_dtype = DataType::kF32;
  int64_t count = 0;
  const void* from = nullptr;  // [count]
  void* to = nullptr;          // [count]; may be from where the dtypes are the same
  float factor = 1;
};
cudaError_t cast_scale(const CastScale& op, const Queue& queue);

}  // namespace kente::cuda
