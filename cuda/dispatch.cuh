#pragma once

#include "cuda/dtype.h"
#include "cuda/vector.cuh"

namespace kente::cuda {

template <class T>
struct TypeName {};

/// Calls launch with a TypeName of what the elements are; cudaErrorInvalidValue for a value that is
/// none of the enumeration's.
template <class Launch>
cudaError_t with_type(DataType dtype, const Launch& launch) {
  switch (dtype) {
    case DataType::kF32:
      return launch(TypeName<float>());
    case DataType::kF16:
      return launch(TypeName<__half>());
    case DataType::kBF16:
      return launch(TypeName<__nv_bfloat16>());
  }
  return cudaErrorInvalidValue;
}

/// A bulk tensor that a caller names by an untyped pointer.
template <class T>
__host__ __device__ Global<T> global(
    std::conditional_t<std::is_const_v<T>, const void*, void*> data) {
  return Global<T>(static_cast<T*>(data));
}

}  // namespace kente::cuda
