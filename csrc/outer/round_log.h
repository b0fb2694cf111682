#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/outer/round_hub.h"

namespace kente {

// The hub's log: a line a record, "<XXH3 of the JSON, 16 digits> <bytes of the JSON> <JSON>\n".
// People can read it.

/// The record's line. Names and digests are at most kMostNameBytes long, of printable ASCII.
std::string log_line(const LogRecord& record);
inline constexpr size_t kMostNameBytes = 256;

struct ReadLog {
  std::vector<LogRecord> records;
  /// Bytes that hold them. What follows is a line that was never finished: to be cut off.
  int64_t bytes = 0;
};

/// Reads a log as it is found. Only the last line may be torn; a bad one before others, records
/// that contradict each other and whatever no hub writes are a FormatError naming file and offset.
ReadLog read_log(const std::string& text, const std::string& file);

}  // namespace kente
