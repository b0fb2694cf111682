#pragma once

#include "comm/communicator.h"

namespace kente {

/// into[i] = into[i] op from[i]. Integers wrap. Throws InternalError for f16 and bf16, whose sums
/// would lose what they add, and for unequal counts or dtypes.
void reduce_into(BufferView into, BufferView from, ReduceOp op);

}  // namespace kente
