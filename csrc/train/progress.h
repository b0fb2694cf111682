#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "csrc/report/run_record.h"

namespace kente {

/// What people see while a run goes on: one line rewritten in place on a terminal, a plain line
/// every few seconds in a pipe. Rank 0 only.
class Progress {
 public:
  enum class Output { kTerminal, kPipe, kQuiet };

  Progress(std::FILE* out, Output output, int64_t steps);
  ~Progress();
  /// checkpoint_step: the newest durable one, 0 for none.
  void step(const StepRecord& record, int64_t checkpoint_step);
  /// A line of its own.
  void note(const std::string& line);

 private:
  void print(const std::string& line);

  std::FILE* out_;
  const Output output_;
  const int64_t steps_;
  int64_t last_ns_ = 0;
  int64_t first_step_ = 0;
  double seconds_ = 0;
  size_t shown_ = 0;  // characters of the line that stands on the terminal
};

}  // namespace kente
