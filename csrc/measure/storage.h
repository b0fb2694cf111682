#pragma once

#include <cstdint>
#include <string>

#include "csrc/base/file_system.h"

namespace kente {

struct StorageSpeed {
  double bytes_per_second = 0;  // appended, before the sync
  double sync_seconds = 0;      // of one small file, median
};

/// Writes a file of that many bytes, then small ones, each synced, under directory/name, and
/// removes them. Throws StorageError.
StorageSpeed measure_storage(FileSystem& files, const std::string& directory,
                             const std::string& name, int64_t bytes);

}  // namespace kente
