#pragma once

#include <cstdint>

namespace kente {

/// The smallest multiple that is at least value; both are not negative.
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace kente
