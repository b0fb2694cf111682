#pragma once

#include <utility>

#include "csrc/nn/ops/vector.h"

namespace kente {

inline constexpr int64_t kTile = 16;  // values of 32 bits in a vector

/// Lane l of row i and lane i of row l change places, for the bit d of i and l.
template <int d, int... lane>
KENTE_INLINE void exchange(U32x16& low, U32x16& high, std::integer_sequence<int, lane...>) {
  const U32x16 a = low, b = high;
  low = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane : 16 + lane - d)...);
  high = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane + d : 16 + lane)...);
}

template <int d>
KENTE_INLINE void exchange_all(U32x16* tile) {
  for (int row = 0; row < kTile; ++row)
    if ((row & d) == 0)
      exchange<d>(tile[row], tile[row + d], std::make_integer_sequence<int, kTile>());
}

/// Rows of kTile values become columns.
KENTE_INLINE void transpose_tile(U32x16* tile) {
  exchange_all<1>(tile);
  exchange_all<2>(tile);
  exchange_all<4>(tile);
  exchange_all<8>(tile);
}

}  // namespace kente
