#pragma once

#include "comm/communicator.h"

namespace kente {

/// The largest of all ranks' values: what ranks decide by must be the same on each. A collective.
inline double largest_of_all(Communicator& world, double value, const Deadline& deadline) {
  world.all_reduce({.data = &value, .count = 1, .dtype = DType::kF64}, ReduceOp::kMax)
      ->wait(deadline);
  return value;
}

}  // namespace kente
