#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <string>
#include <type_traits>

#include "csrc/base/dtype.h"
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

/// The type sums over elements of type T are made in: double for double, else float.
template <typename T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// The types that take two bytes: computed with in float.
template <typename T>
inline constexpr bool kIsHalf = std::is_same_v<T, c10::BFloat16> || std::is_same_v<T, c10::Half>;
inline bool is_half(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

/// Calls f with a value of the C++ type of a tensor's elements: float, double, c10::BFloat16 or
/// c10::Half.
template <typename F>
void with_type(at::ScalarType type, F&& f) {
  switch (type) {
    case at::kFloat:
      return f(float{});
    case at::kDouble:
      return f(double{});
    case at::kBFloat16:
      return f(c10::BFloat16{});
    case at::kHalf:
      return f(c10::Half{});
    default:
      throw InternalError(std::string("no kernel for dtype ") + c10::toString(type));
  }
}

/// float for bf16 and f16, else the same: what sums, statistics and logits are kept in.
inline at::ScalarType real_type(at::ScalarType type) { return is_half(type) ? at::kFloat : type; }

}  // namespace kente
