#include "launch/host_watch.h"

#include <sys/wait.h>

#include "csrc/base/clock.h"

namespace kente {

std::vector<std::string> HostWatch::after_failure(int rank, const LaunchSignals& signals,
                                                  int& orders) {
  std::vector<std::string> told;
  if (pool_.empty()) return told;
  const std::string host = pool_.host_of(rank);
  if (pool_.failed(rank, now_seconds())) told.push_back(host + ": three failures within an hour");
  std::vector<std::string> names;
  for (const Host& used : pool_.used()) names.push_back(used.name);
  HostProbe probe(launcher_, names, seconds_, now_seconds());
  while (!probe.done(now_seconds()) && orders < 2) {
    signals.wait(0.1);
    orders += signals.stop_orders();
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) probe.ended(pid, status);
  }
  for (const std::string& name : probe.silent())
    if (pool_.leave_out(name, now_seconds()))
      told.push_back(name + ": mpirun can start nothing there");
  return told;
}

std::vector<std::string> HostWatch::come_back() {
  std::vector<std::string> back;
  if (probe_ && probe_->done(now_seconds())) {
    for (const std::string& name : probe_->silent()) pool_.put_off(name, now_seconds());
    back = probe_->answered();
    for (const std::string& name : back) pool_.take_back(name);
    probe_.reset();
  }
  if (probe_) return back;
  const std::vector<std::string> due = pool_.due(now_seconds());
  if (!due.empty()) probe_.emplace(launcher_, due, seconds_, now_seconds());
  return back;
}

}  // namespace kente
