#pragma once

#include "csrc/nn/ops/ops.h"

namespace kente {

/// Bytes read and bytes written a second of a GPU that copies between two places of its memory, for
/// about so many seconds. The host's: csrc/train/environment.h.
double copy_bytes_per_second(Ops& ops, double seconds);

}  // namespace kente
