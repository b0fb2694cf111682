#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"

namespace kente {

/// What the words of `kente ckpt` ask for.
struct CkptOptions {
  enum class Output { kText, kJson };

  std::string run;
  std::vector<std::string> runs;  // of several nodes, or two to compare
  std::optional<int64_t> step, other_step;
  std::vector<int64_t> steps;  // to remove
  std::string to;
  int64_t shards = 0;  // 0: none above 4 GiB
  bool even_the_last = false;
  Output output = Output::kText;
};

/// RUN/ckpt. Throws UsageError when there is none.
std::string checkpoint_directory(const std::string& run);
/// "3.4 GiB"
std::string size_text(int64_t bytes);
void print_json(const nlohmann::ordered_json& json);

/// A line on a terminal that rewrites itself, at most five times a second; nothing in a pipe.
class ProgressLine {
 public:
  /// done_what: "verified".
  ProgressLine(int64_t step, std::string done_what);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(int64_t done, int64_t total);

 private:
  const int64_t step_;
  const std::string what_;
  const bool shown_;
  int64_t last_ns_ = 0;
};

/// kente ckpt diff A B
ExitStatus diff_checkpoints(FileSystem& files, const CkptOptions& options);
/// kente ckpt rm RUN --step N
ExitStatus remove_checkpoints(FileSystem& files, const CkptOptions& options);
/// kente ckpt reshard RUN... --to DIR
ExitStatus reshard_checkpoint(FileSystem& files, const CkptOptions& options);

}  // namespace kente
