#pragma once

#include <ATen/core/Tensor.h>

#include <bit>
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

/// Whether there is no infinity and no NaN in a contiguous f32 tensor. Needs no memory, unlike
/// at::isfinite.
inline bool all_finite(const at::Tensor& values) {
  KENTE_CHECK(values.is_contiguous(), "tensor not contiguous");
  constexpr uint32_t kSpecial = 0x7F800000u;  // the exponent of both
  const float* const floats = values.const_data_ptr<float>();
  uint32_t found = 0;
  for (int64_t i = 0; i < values.numel(); ++i)
    found |= (std::bit_cast<uint32_t>(floats[i]) & kSpecial) == kSpecial ? 1u : 0u;
  return found == 0;
}

/// A contiguous tensor's elements; the tensor must outlive the view.
inline BufferView view_of(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "tensor not contiguous");
  return {
      .data = tensor.data_ptr(), .count = tensor.numel(), .dtype = dtype_of(tensor.scalar_type())};
}

}  // namespace kente
