#include "launch/rank_output.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string_view>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

/// stdout, shared by the thread that passes output on and the one that notes.
struct Terminal {
  std::mutex mutex;
  const bool live = ::isatty(STDOUT_FILENO) == 1;
  bool open_line = false;  // the last line was a step's and may be written over

  void print(std::string_view line, bool step) {
    const std::scoped_lock lock(mutex);
    const char* start = "";
    if (open_line) start = step ? "\r\033[K" : "\n";
    open_line = live && step;
    std::fprintf(stdout, "%s%.*s%s", start, static_cast<int>(line.size()), line.data(),
                 open_line ? "" : "\n");
    std::fflush(stdout);
  }
};

Terminal& terminal() {
  static Terminal shared;
  return shared;
}

}  // namespace

RankOutput::RankOutput(const std::string& path)
    : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (!file_) throw StorageError(path + ": " + std::strerror(errno) + "; is the disk writable?");
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    throw InternalError(std::string("pipe: ") + std::strerror(errno));
  read_ = Descriptor(ends[0]);
  write_ = Descriptor(ends[1]);
  thread_ = std::thread([this] { run(); });
}

void RankOutput::finish() {
  constexpr int64_t kSecond = 1'000'000'000;
  close_write_end();
  finish_by_ns_ = now_ns() + kSecond;
  if (thread_.joinable()) thread_.join();
}

/// Waits; false when the time is over.
bool RankOutput::more_to_read() const {
  constexpr int kPollMs = 100;
  while (now_ns() < finish_by_ns_) {
    pollfd wait = {.fd = read_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, kPollMs) > 0) return true;
  }
  return false;
}

void RankOutput::run() const {
  std::array<char, 4096> chunk;
  std::string line;
  while (more_to_read()) {
    const ssize_t got = ::read(read_.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const std::string_view bytes(chunk.data(), static_cast<size_t>(got));
    // A full disk must not stop the ranks: their output is then shown only.
    if (::write(file_.get(), bytes.data(), bytes.size()) < 0) errno = 0;
    for (const char c : bytes) {
      if (c != '\n') {
        line += c;
        continue;
      }
      terminal().print(line, line.starts_with("step "));
      line.clear();
    }
  }
  if (!line.empty()) terminal().print(line, false);
}

void RankOutput::note(const std::string& line) { terminal().print(line, false); }

}  // namespace kente
