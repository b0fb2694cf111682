#pragma once

#include <string>
#include <string_view>

namespace kente {

/// error: a person must act; warn: we recovered; info: once a step or rarer.
enum class LogLevel { kInfo, kWarn, kError };

/// One process's log: text lines on stderr (warn and error; info if verbose) and, once opened,
/// every line in the file. Made in main and passed on. Thread-safe; never throws.
class Log {
 public:
  virtual ~Log() = default;
  virtual void write(LogLevel level, std::string_view line) = 0;

  void info(std::string_view line) { write(LogLevel::kInfo, line); }
  void warn(std::string_view line) { write(LogLevel::kWarn, line); }
  void error(std::string_view line) { write(LogLevel::kError, line); }
};

}  // namespace kente
