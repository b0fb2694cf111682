#include "comm/reduce.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "csrc/base/errors.h"

namespace kente {
namespace {

/// Integers are added as unsigned, where wrapping is defined.
template <typename T>
T sum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
  } else {
    return a + b;
  }
}

template <typename T>
void reduce_as(BufferView into, BufferView from, ReduceOp op) {
  T* a = static_cast<T*>(into.data);
  const T* b = static_cast<const T*>(from.data);
  for (int64_t i = 0; i < into.count; ++i) {
    if (op == ReduceOp::kSum) {
      a[i] = sum(a[i], b[i]);
    } else {
      a[i] = op == ReduceOp::kMin ? std::min(a[i], b[i]) : std::max(a[i], b[i]);
    }
  }
}

}  // namespace

void reduce_into(BufferView into, BufferView from, ReduceOp op) {
  KENTE_CHECK(into.count == from.count && into.dtype == from.dtype,
              std::to_string(into.count) + " " + std::string(name_of(into.dtype)) + " and " +
                  std::to_string(from.count) + " " + std::string(name_of(from.dtype)));
  switch (into.dtype) {
    case DType::kU8:
      return reduce_as<uint8_t>(into, from, op);
    case DType::kU16:
      return reduce_as<uint16_t>(into, from, op);
    case DType::kI32:
      return reduce_as<int32_t>(into, from, op);
    case DType::kI64:
      return reduce_as<int64_t>(into, from, op);
    case DType::kF32:
      return reduce_as<float>(into, from, op);
    case DType::kF64:
      return reduce_as<double>(into, from, op);
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  throw InternalError("reduction of " + std::string(name_of(into.dtype)) +
                      ": convert to f32 first");
}

}  // namespace kente
