#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace kente {

struct CommandResult {
  int status =
      -1;  // exit status; 128 + signal if it was killed; 124 when it ran too long and was ended
  std::string output;  // stdout and stderr
};

/// A shell command in a process group of its own; whatever is left of the group is killed when the
/// object goes.
class Process {
 public:
  explicit Process(const std::string& command);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  bool running();
  /// Of the shell, or of what it became with exec.
  pid_t pid() const { return pid_; }
  /// Waits at most seconds, then kills the group.
  CommandResult wait(double seconds);

 private:
  std::string output_path_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

CommandResult run_command(const std::string& command, double seconds);

/// The process that mpirun started as rank and whose command line contains text; empty if there is
/// none. incarnation: of a supervisor's job, 0: any.
std::optional<pid_t> find_rank(int rank, const std::string& text, int incarnation = 0);

/// All processes whose command line contains text.
std::vector<pid_t> find_processes(const std::string& text);

/// "mpirun -n RANKS ..." with what a test machine needs: more ranks than cores, no binding, root
/// allowed.
std::string mpirun(int ranks);

}  // namespace kente
