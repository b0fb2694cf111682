#pragma once

namespace kente {

/// What a process that trains does before its first tensor. Products of the same shapes have the
/// same bits, on one thread; denormals count as 0; memory that is freed stays the process's, for
/// the next micro-batch.
void prepare_process();

}  // namespace kente
