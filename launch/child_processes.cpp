#include "launch/child_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "comm/control.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

extern char** environ;

namespace kente {
namespace {

std::string slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string proc(pid_t pid, const char* what) {
  return "/proc/" + std::to_string(pid) + "/" + what;
}

bool is_zombie(pid_t pid) {
  const std::string stat = slurp(proc(pid, "stat"));
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() || stat[name_end + 2] == 'Z';
}

bool has_entry(const std::string& environment, const std::string& entry) {
  const std::string wanted = entry + '\0';
  const size_t at = environment.find(wanted);
  return at != std::string::npos && (at == 0 || environment[at - 1] == '\0');
}

/// Returns when the process has ended, or the time is over.
void wait_for_end(pid_t pid, double seconds) {
  const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd wait = {.fd = process.get(), .events = POLLIN, .revents = 0};
  if (process) ::poll(&wait, 1, static_cast<int>(seconds * 1000) + 1);
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

pid_t start_program(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment, int output) {
  std::vector<std::string> words = command, variables;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string variable = *at;
    if (!environment.contains(variable.substr(0, variable.find('='))))
      variables.push_back(variable);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, words[0].c_str(), &files, &attributes,
                                    pointers(words).data(), pointers(variables).data());
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    throw UsageError("cannot run " + words[0] + ": " + std::strerror(failed) +
                     "; install Open MPI (launch/setup) or name it with --mpirun");
  return pid;
}

std::vector<pid_t> processes_with(const std::string& entry) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& at : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = at.path().filename().string();
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size() || pid == ::getpid()) continue;
    if (has_entry(slurp(proc(pid, "environ")), entry) && !is_zombie(pid)) found.push_back(pid);
  }
  return found;
}

bool may_raise_priority() {
  bool may = false;
  // Linux keeps a nice value for each thread; this one ends with what it did.
  std::thread([&] {
    const auto self = static_cast<id_t>(::gettid());
    const int before = ::getpriority(PRIO_PROCESS, self);
    may = before < kLeastNice && ::setpriority(PRIO_PROCESS, self, before + 1) == 0 &&
          ::setpriority(PRIO_PROCESS, self, before) == 0;
  }).join();
  return may;
}

void set_nice(const std::vector<pid_t>& processes, int nice) {
  for (const pid_t pid : processes) {
    std::error_code gone;
    for (const auto& at : std::filesystem::directory_iterator(proc(pid, "task"), gone))
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(std::stoul(at.path().filename().string())),
                    nice);
  }
}

std::vector<pid_t> end_all_with(const std::string& entry, double seconds) {
  const Deadline deadline = Deadline::after_seconds(seconds);
  while (true) {
    std::vector<pid_t> left = processes_with(entry);
    // A process that another one starts meanwhile is found in the next round.
    for (const pid_t pid : left) ::kill(pid, SIGKILL);
    if (left.empty() || deadline.passed()) return left;
    for (const pid_t pid : left) {
      wait_for_end(pid, deadline.seconds_left());
      ::waitpid(pid, nullptr, WNOHANG);  // only these: how others ended somebody else wants to know
    }
  }
}

void dump_stacks(pid_t pid, const std::string& path, double seconds) {
  const int output = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (output < 0) return;
  pid_t gdb = -1;
  try {
    gdb = start_program({"gdb", "-p", std::to_string(pid), "-batch", "-nx", "-ex",
                         "set debuginfod enabled off", "-ex", "thread apply all bt 40"},
                        {}, output);
  } catch (const UsageError&) {
    for (const char* what : {"status", "wchan", "syscall", "stack"}) {
      const std::string text = std::string(what) + ":\n" + slurp(proc(pid, what)) + "\n";
      if (::write(output, text.data(), text.size()) < 0) break;
    }
  }
  ::close(output);
  if (gdb < 0) return;
  wait_for_end(gdb, seconds);
  ::kill(-gdb, SIGKILL);
  ::waitpid(gdb, nullptr, 0);
}

}  // namespace kente
