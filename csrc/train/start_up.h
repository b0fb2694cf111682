#pragma once

#include "comm/communicator.h"
#include "csrc/base/file_system.h"
#include "csrc/train/trainer.h"

namespace kente {

/// The recipe with every source's digest, so that a resumed run notices other text. A rank that
/// reads data looks them up for all. A collective.
Recipe resolve_sources(const TrainOptions& options, Communicator& world, const Deadline& deadline);

/// Refuses a fresh start over an old run: nothing is ever overwritten silently. Throws UsageError.
void check_run_directory(const TrainOptions& options, FileSystem& files);

}  // namespace kente
