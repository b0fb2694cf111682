#pragma once

#include <ATen/core/Tensor.h>

#include "csrc/base/buffer_view.h"
#include "csrc/base/errors.h"

namespace kente {

inline at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return at::kByte;
    case DType::kI32:
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
    case DType::kU16:
      break;
  }
  throw InternalError("no tensor type for " + std::string(name_of(dtype)));
}

inline DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kInt:
      return DType::kI32;
    case at::kLong:
      return DType::kI64;
    case at::kHalf:
      return DType::kF16;
    case at::kBFloat16:
      return DType::kBF16;
    case at::kFloat:
      return DType::kF32;
    case at::kDouble:
      return DType::kF64;
    default:
      throw InternalError("no dtype for a tensor type");
  }
}

/// A contiguous tensor's elements; the tensor must outlive the view.
inline BufferView view_of(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "tensor not contiguous");
  return {
      .data = tensor.data_ptr(), .count = tensor.numel(), .dtype = dtype_of(tensor.scalar_type())};
}

}  // namespace kente
