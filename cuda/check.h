#pragma once

#include <cstdint>

namespace kente::cuda {

// What launch functions ask of their arguments.

constexpr int64_t kMostRows = (int64_t{1} << 31) - 1;

inline bool valid_rows(int64_t rows) { return rows > 0 && rows <= kMostRows; }

/// Not null, and the widest access may begin there.
template <class... Pointers>
bool aligned(const Pointers*... pointers) {
  return ((pointers != nullptr && reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

/// As aligned, but it may be null.
inline bool aligned_or_null(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace kente::cuda
