#pragma once

#include "csrc/nn/ops/ops.h"

namespace kente {

/// Bytes read and bytes written a second, of one thread that copies between two buffers larger than
/// its caches, for about so many seconds.
double copy_bytes_per_second(double seconds);

/// The same of a GPU between two places of its memory.
double copy_bytes_per_second(Ops& ops, double seconds);

}  // namespace kente
