#include "csrc/base/log_file.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "csrc/base/errors.h"

namespace kente {
namespace {

class SpdLog : public Log {
 public:
  SpdLog(const std::string& path, int rank) : logger_("rank" + std::to_string(rank)) {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l rank " + std::to_string(rank) + " %v");
    auto terminal = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    terminal->set_level(spdlog::level::warn);
    terminal->set_pattern("kente: %l: rank " + std::to_string(rank) + ": %v");
    logger_.sinks() = {file, terminal};
    logger_.flush_on(spdlog::level::info);
  }

  void write(LogLevel level, std::string_view line) override {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::info, spdlog::level::warn,
                                                     spdlog::level::err};
    logger_.log(kLevels[static_cast<int>(level)], spdlog::string_view_t(line.data(), line.size()));
  }

 private:
  spdlog::logger logger_;
};

class NullLog : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
};

}  // namespace

std::unique_ptr<Log> open_log(const std::string& path, int rank) {
  try {
    return std::make_unique<SpdLog>(path, rank);
  } catch (const spdlog::spdlog_ex& failure) {
    throw StorageError(path + ": cannot open the log: " + failure.what());
  }
}

std::unique_ptr<Log> null_log() { return std::make_unique<NullLog>(); }

}  // namespace kente
