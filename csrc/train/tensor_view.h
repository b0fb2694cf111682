#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "csrc/base/buffer_view.h"
#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"

namespace kente {

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
