#include "tests/support/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

std::string read_all(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

Process::Process(const std::string& command) {
  output_path_ = (std::filesystem::temp_directory_path() / "kente-output-XXXXXX").string();
  const int output = ::mkstemp(output_path_.data());
  if (output < 0) throw StorageError(output_path_ + ": cannot create");
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(output);
  if (pid_ < 0) throw StorageError("cannot fork");
  ::setpgid(pid_, pid_);
}

Process::~Process() {
  ::kill(-pid_, SIGKILL);
  if (!status_) ::waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  std::filesystem::remove(output_path_, ignored);
}

bool Process::running() {
  if (status_) return false;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == 0) return true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

CommandResult Process::wait(double seconds) {
  const Deadline deadline = Deadline::after_seconds(seconds);
  while (running()) {
    if (deadline.passed()) {
      ::kill(-pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
      status_ = 124;
      break;
    }
    ::poll(nullptr, 0, 5);
  }
  return {.status = *status_, .output = read_all(output_path_)};
}

CommandResult run_command(const std::string& command, double seconds) {
  return Process(command).wait(seconds);
}

std::optional<pid_t> find_rank(int rank, const std::string& text, int incarnation) {
  const std::string wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  const std::string job = "KENTE_INCARNATION=" + std::to_string(incarnation);
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_all(entry.path() / "cmdline").find(text) == std::string::npos) continue;
    const std::string environment = read_all(entry.path() / "environ");
    const auto holds = [&](const std::string& variable) {
      return ('\0' + environment).find('\0' + variable + '\0') != std::string::npos;
    };
    if (holds(wanted) && (incarnation == 0 || holds(job)))
      return static_cast<pid_t>(std::stol(name));
  }
  return std::nullopt;
}

std::vector<pid_t> find_processes(const std::string& text) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_all(entry.path() / "cmdline").find(text) != std::string::npos)
      found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

std::string mpirun(int ranks) {
  const std::string root = ::geteuid() == 0 ? " --allow-run-as-root" : "";
  return "mpirun" + root + " --oversubscribe --bind-to none -n " + std::to_string(ranks) + " ";
}

}  // namespace kente
