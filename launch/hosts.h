#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kente {

/// A machine that ranks run on.
struct Host {
  std::string name;
  int slots = 1;

  bool operator==(const Host&) const = default;
};

/// Open MPI's form: "NAME [slots=N] [max_slots=N]" a line, # begins a comment. Throws UsageError
/// "file:line: what; what to do".
std::vector<Host> parse_hostfile(const std::string& text, const std::string& file);
/// parse_hostfile on a file.
std::vector<Host> load_hostfile(const std::string& path);

/// Which hosts a run uses: one that does not answer, or keeps failing, is left out, and comes back.
/// Ranks are dealt out to slots in order. Knows no process and no clock: seconds are the caller's.
class HostPool {
 public:
  /// hosts: none for this machine only, of which nothing is ever left out. most_ranks: 0 for as
  /// many as there are slots.
  HostPool(std::vector<Host> hosts, int most_ranks, double first_pause = 60);

  bool empty() const { return members_.empty(); }
  /// Those in use, with as many slots as are used.
  std::vector<Host> used() const;
  int ranks() const;
  /// Whether all hosts are in use.
  bool whole() const { return left_out().empty(); }
  std::vector<std::string> left_out() const;
  /// Whose rank that is; empty without hosts.
  std::string host_of(int rank) const;

  /// Leaves a host out; false when it is the last one, which stays.
  bool leave_out(const std::string& name, double now);
  /// A rank there failed. Whether its host was left out for it: after three times in an hour.
  bool failed(int rank, double now);
  /// Those left out of which it is time to ask again: after the first pause, then two, four, ...
  /// times as long, an hour at most.
  std::vector<std::string> due(double now) const;
  /// It did not answer.
  void put_off(const std::string& name, double now);
  void take_back(const std::string& name);

 private:
  struct Member {
    Host host;
    bool out = false;
    double ask_at = 0;  // seconds
    double pause = 0;   // the last one
    std::deque<double> failures = {};
  };
  Member& member(const std::string& name);

  std::vector<Member> members_;
  int most_ranks_;
  double first_pause_;  // seconds
};

/// Asks hosts whether mpirun can start something there. The caller reaps the processes.
class HostProbe {
 public:
  /// command: what starts a program on one host, up to its name. Limit: seconds for an answer.
  HostProbe(const std::vector<std::string>& command, const std::vector<std::string>& hosts,
            double limit, double now);
  ~HostProbe();
  HostProbe(const HostProbe&) = delete;
  HostProbe& operator=(const HostProbe&) = delete;

  /// A process ended; others' are not looked at.
  void ended(pid_t pid, int status);
  /// Every host has answered, or had its time.
  bool done(double now);
  const std::vector<std::string>& answered() const { return answered_; }
  const std::vector<std::string>& silent() const { return silent_; }

 private:
  std::map<pid_t, std::string> asked_;
  std::vector<std::string> answered_, silent_;
  const double until_;
};

}  // namespace kente
