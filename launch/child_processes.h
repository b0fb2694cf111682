#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace kente {

/// A program in a session of its own, so that a terminal's Ctrl-C does not reach it; its stdout and
/// stderr go to output (a descriptor). environment: variables set beside this process's own. Throws
/// UsageError when it cannot be run.
pid_t start_program(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment, int output);

/// Processes of this user whose environment holds entry ("NAME=value"), without zombies.
std::vector<pid_t> processes_with(const std::string& entry);

inline constexpr int kLeastNice = 19;  // the last in line, setpriority(2)

/// Whether this process may raise a priority that it has lowered: many users may not.
bool may_raise_priority();

/// Gives every thread of these processes this nice value, as far as one may.
void set_nice(const std::vector<pid_t>& processes, int nice);

/// SIGKILL to all of processes_with(entry), until none is left or the time is over. Returns those
/// that are left: stuck in the kernel.
std::vector<pid_t> end_all_with(const std::string& entry, double seconds);

/// Writes the stacks of a process's threads to path, by gdb where there is one, else what /proc
/// tells. Takes at most so many seconds.
void dump_stacks(pid_t pid, const std::string& path, double seconds);

}  // namespace kente
