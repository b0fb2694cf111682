#pragma once

#include <memory>
#include <string>

#include "csrc/base/log.h"

namespace kente {

/// A log that writes every line, with time and rank, to path (its directory must exist) and
/// warnings and errors to stderr too. Throws StorageError when the file cannot be opened.
std::unique_ptr<Log> open_log(const std::string& path, int rank);

/// A log that drops everything; for tests.
std::unique_ptr<Log> null_log();

}  // namespace kente
