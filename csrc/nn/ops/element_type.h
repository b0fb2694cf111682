#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include <string>
#include <type_traits>

#include "csrc/base/errors.h"

namespace kente {

/// The type sums over elements of type T are made in: double for double, else float.
template <typename T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls f with a value of the C++ type of a tensor's elements: float, double or c10::BFloat16.
template <typename F>
void with_type(at::ScalarType type, F&& f) {
  switch (type) {
    case at::kFloat:
      return f(float{});
    case at::kDouble:
      return f(double{});
    case at::kBFloat16:
      return f(c10::BFloat16{});
    default:
      throw InternalError(std::string("no kernel for dtype ") + c10::toString(type));
  }
}

/// float for bf16, else the same: what sums, statistics and logits are kept in.
inline at::ScalarType real_type(at::ScalarType type) {
  return type == at::kBFloat16 ? at::kFloat : type;
}

}  // namespace kente
