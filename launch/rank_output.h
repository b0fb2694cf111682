#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "comm/control.h"

namespace kente {

/// What ranks print: goes to a file whole, and to this process's stdout; on a terminal the steps
/// share one line.
class RankOutput {
 public:
  /// Throws StorageError when the file cannot be made.
  explicit RankOutput(const std::string& path);
  ~RankOutput() { finish(); }
  RankOutput(const RankOutput&) = delete;
  RankOutput& operator=(const RankOutput&) = delete;

  /// Given to the program whose output it is.
  int write_end() const { return write_.get(); }
  void close_write_end() { write_.reset(); }
  /// Reads on until every process that had the write end is gone, for at most a second: one may be
  /// stuck in the kernel.
  void finish();

  /// A line of this process's own, between those of the ranks.
  static void note(const std::string& line);

 private:
  void run() const;
  bool more_to_read() const;

  Descriptor file_, read_, write_;
  std::atomic<int64_t> finish_by_ns_{INT64_MAX};
  std::thread thread_;
};

}  // namespace kente
