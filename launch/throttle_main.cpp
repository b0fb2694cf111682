/// kente throttle --cpu PERCENT [--period-ms MS] [--memory BYTES] [--cgroup] -- COMMAND...
/// Runs a command as on a slower machine: its process group is stopped and continued in turn, so
/// that of every period it runs its share; or, with --cgroup, under a quota of the kernel's.
/// Signals are handed on; the exit status is the command's (128 + signal if one ended it). The
/// command dies with this process, and nothing else does.
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "launch/command_line.h"
#include "launch/program.h"

namespace kente {
namespace {

struct Flags {
  double cpu = 100, period_ms = 20;
  int64_t memory = 0;  // bytes; 0: no limit
  bool cgroup = false;
  std::vector<std::string> command;
};

constexpr int kHandedOn[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

Flags parse(int argc, char** argv) {
  Flags flags;
  CommandLine app("Runs a command at a share of a core, to try a recipe on unequal machines.",
                  "kente throttle");
  app.option("--cpu", flags.cpu, "percent of a core").between(1.0, 100.0);
  app.option("--period-ms", flags.period_ms, "of one stop and one go")
      .show_default()
      .between(1.0, 10000.0);
  app.option("--memory", flags.memory, "bytes it may map (with --cgroup: use)").positive();
  app.flag("--cgroup", flags.cgroup, "by a cgroup's quota, where this user may make one");
  app.footer(
      "-- COMMAND... comes last, as in:\n  mpirun -n 1 kente train ... "
      ": -n 1 kente throttle --cpu 25 -- kente train ...");
  int own = 1;
  while (own < argc && std::strcmp(argv[own], "--") != 0) ++own;
  flags.command.assign(argv + std::min(own + 1, argc), argv + argc);
  if (app.asks_for_help(own, argv, "see kente throttle --help, and write the command after --"))
    return {.command = {}};
  if (flags.command.empty()) throw UsageError("no command; write it after --");
  return flags;
}

/// A cgroup of our own below this process's, removed with the object.
class Cgroup {
 public:
  Cgroup(const std::string& controller, const std::string& parent_v2) {
    std::ifstream own("/proc/self/cgroup");
    for (std::string line; std::getline(own, line);) {
      const size_t second = line.find(':', line.find(':') + 1);
      const std::string at = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
      const std::string controllers = "," + line.substr(0, second) + ",";
      if (line.starts_with("0::")) {
        path_ = parent_v2 + at;
      } else if (controllers.find(":" + controller + ",") != std::string::npos ||
                 controllers.find("," + controller + ",") != std::string::npos) {
        path_ = parent_v2 + "/" + controller + at;
        is_v1_ = true;
        break;
      }
    }
    path_ += "/kente-throttle-" + std::to_string(::getpid());
    std::error_code failed;
    if (!std::filesystem::create_directory(path_, failed))
      throw UsageError(path_ + ": cannot make this cgroup: " + failed.message() +
                       "; leave out --cgroup");
  }
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  ~Cgroup() { ::rmdir(path_.c_str()); }

  bool is_v1() const { return is_v1_; }
  void write(const std::string& name, const std::string& value) const {
    std::ofstream file(path_ + "/" + name);
    file << value << std::flush;
    if (!file)
      throw UsageError(path_ + "/" + name + ": cannot write " + value +
                       ": is the controller enabled there? leave out --cgroup");
  }

 private:
  std::string path_;
  bool is_v1_ = false;
};

/// Cgroups that limit the child once it was added.
std::vector<std::unique_ptr<Cgroup>> make_cgroups(const Flags& flags) {
  std::vector<std::unique_ptr<Cgroup>> made;
  if (!flags.cgroup) return made;
  const auto period = static_cast<int64_t>(flags.period_ms * 1000);
  const auto quota = static_cast<int64_t>(flags.period_ms * 10 * flags.cpu);
  made.push_back(std::make_unique<Cgroup>("cpu", "/sys/fs/cgroup"));
  if (made.back()->is_v1()) {
    made.back()->write("cpu.cfs_period_us", std::to_string(period));
    made.back()->write("cpu.cfs_quota_us", std::to_string(quota));
  } else {
    made.back()->write("cpu.max", std::to_string(quota) + " " + std::to_string(period));
  }
  if (flags.memory == 0) return made;
  if (made.back()->is_v1()) {
    made.push_back(std::make_unique<Cgroup>("memory", "/sys/fs/cgroup"));
    made.back()->write("memory.limit_in_bytes", std::to_string(flags.memory));
  } else {
    made.back()->write("memory.max", std::to_string(flags.memory));
  }
  return made;
}

/// What kente bench knows a profile by.
std::string described(const Flags& flags) {
  std::ostringstream words;
  words << "cpu " << flags.cpu << " %, period " << flags.period_ms << " ms, memory " << flags.memory
        << (flags.cgroup ? ", cgroup" : "");
  return words.str();
}

[[noreturn]] void become(const Flags& flags, const sigset_t& mask, pid_t parent, int ready) {
  char go = 0;
  // Dies with the one that throttles it, however that ends; also if it has ended already.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != parent) ::_exit(1);
  ::setpgid(0, 0);
  if (::read(ready, &go, 1) != 1) ::_exit(1);  // until it is in its cgroup
  ::close(ready);
  if (flags.memory > 0 && !flags.cgroup) {
    const rlimit limit = {static_cast<rlim_t>(flags.memory), static_cast<rlim_t>(flags.memory)};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  ::setenv("KENTE_THROTTLE", described(flags).c_str(), 1);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  std::vector<std::string> words = flags.command;
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  std::fprintf(stderr, "kente throttle: cannot run %s: %s\n", argv[0], std::strerror(errno));
  ::_exit(127);
}

/// This process sleeps nearly always; when it wakes it goes first, where it may (root), because a
/// stop that comes late gives the command more than its share. Not inherited: the child is there.
void go_first() {
  sched_param priority{};
  priority.sched_priority = ::sched_get_priority_min(SCHED_RR);
  if (::sched_setscheduler(0, SCHED_RR, &priority) != 0) ::setpriority(PRIO_PROCESS, 0, -20);
}

/// The command's process group, stopped and continued by the clock.
class DutyCycle {
 public:
  DutyCycle(const Flags& flags, pid_t child)
      : child_(child),
        period_ns_(static_cast<int64_t>(flags.period_ms * 1e6)),
        run_ns_(static_cast<int64_t>(flags.period_ms * 1e4 * flags.cpu)),
        always_(flags.cgroup || flags.cpu >= 100) {}

  /// Until the child has ended; its wait status. set: signals to take, SIGCHLD among them.
  int run(const sigset_t& set) {
    int status = 0;
    int64_t begin = now_ns();      // of this period
    int64_t continued_at = begin;  // in it
    int64_t owed = 0;              // to the command: its share less what it ran
    bool going = true;
    int64_t edge = always_ ? INT64_MAX : begin + run_ns_;
    while (true) {
      take_signal(set, edge);
      const pid_t ended = ::waitpid(child_, &status, WNOHANG);
      if (ended == child_) break;
      if (now_ns() < edge) continue;
      going = !going;
      ::kill(-child_, going ? SIGCONT : SIGSTOP);
      const int64_t now = now_ns();
      // Other programs want this core: signals come late. What one period had too much or too
      // little the next ones make good: too little up to a period, too much up to ten.
      if (going) {
        // Absolute: waking late makes no period longer. A stall of whole periods is left behind.
        begin += period_ns_ * std::max<int64_t>(1, (now - begin) / period_ns_);
        continued_at = now;
        edge = now + std::clamp(run_ns_ + owed, run_ns_ / 8, (run_ns_ + period_ns_) / 2);
      } else {
        owed = std::clamp(owed + run_ns_ - (now - continued_at), -10 * period_ns_, period_ns_);
        edge = begin + period_ns_;
      }
    }
    ::kill(-child_, SIGCONT);  // what it may have left running
    return status;
  }

 private:
  /// Waits for a signal until then, and hands it on.
  void take_signal(const sigset_t& set, int64_t until_ns) const {
    const int64_t left = std::clamp<int64_t>(until_ns - now_ns(), 0, 1'000'000'000);
    const timespec timeout = {.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    const int signal = ::sigtimedwait(&set, nullptr, &timeout);
    if (signal > 0 && signal != SIGCHLD) ::kill(-child_, signal);
  }

  const pid_t child_;
  const int64_t period_ns_, run_ns_;
  const bool always_;
};

int run(int argc, char** argv) {
  const Flags flags = parse(argc, argv);
  if (flags.command.empty()) return static_cast<int>(ExitStatus::kDone);  // --help
  const auto cgroups = make_cgroups(flags);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (const int signal : kHandedOn) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, &before);
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
  int ready[2];
  const pid_t self = ::getpid();
  if (::pipe(ready) != 0) throw InternalError(std::string("pipe: ") + std::strerror(errno));
  const pid_t child = ::fork();
  if (child < 0) throw UsageError(std::string("cannot start a process: ") + std::strerror(errno));
  if (child == 0) {
    ::close(ready[1]);
    become(flags, before, self, ready[0]);
  }
  ::close(ready[0]);
  ::setpgid(child, child);  // both do it: whoever comes first
  for (const auto& cgroup : cgroups) cgroup->write("cgroup.procs", std::to_string(child));
  const char go = 1;
  if (::write(ready[1], &go, 1) != 1) throw InternalError("the child is gone before it began");
  ::close(ready[1]);
  go_first();
  const int status = DutyCycle(flags, child).run(set);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente throttle", kente::run, argc, argv);
}
