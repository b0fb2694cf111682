#include "csrc/base/errors.h"

namespace kente {
namespace {

std::string format_message(const std::string& file, int64_t offset, const std::string& what) {
  if (offset < 0) return file + ": " + what;
  return file + ": byte " + std::to_string(offset) + ": " + what;
}

}  // namespace

FormatError::FormatError(const std::string& file, int64_t offset, const std::string& what)
    : Error(format_message(file, offset, what)), file_(file), offset_(offset) {}

ExitStatus exit_status(const std::exception& failure) {
  if (dynamic_cast<const UsageError*>(&failure)) return ExitStatus::kUsage;
  if (dynamic_cast<const FormatError*>(&failure)) return ExitStatus::kUsage;
  if (dynamic_cast<const PeerError*>(&failure)) return ExitStatus::kPeer;
  if (dynamic_cast<const DeviceError*>(&failure)) return ExitStatus::kPeer;
  if (dynamic_cast<const StorageError*>(&failure)) return ExitStatus::kStorage;
  return ExitStatus::kBug;
}

void check_failed(const char* file, int line, const char* claim, const std::string& detail) {
  throw InternalError(std::string(file) + ":" + std::to_string(line) + ": " + claim +
                      " does not hold: " + detail);
}

}  // namespace kente
