#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "comm/control.h"
#include "launch/launch_resources.h"
#include "launch/rank_output.h"

namespace kente {

/// One mpirun and its ranks: their processes, what they say, and where what they print goes.
class MpirunJob {
 public:
  struct Options {
    std::vector<std::string> command;
    std::string run_directory;
    std::string control_host;
    int incarnation = 1;     // counts the jobs of a supervisor
    bool stands_by = false;  // the ranks wait for Order::kGo
    bool local = true;       // all on this machine
  };
  /// Throws UsageError when mpirun cannot be run.
  explicit MpirunJob(Options options);
  /// Ends what is left of it, for at most a few seconds.
  ~MpirunJob();
  MpirunJob(const MpirunJob&) = delete;
  MpirunJob& operator=(const MpirunJob&) = delete;

  const Options& options() const { return options_; }
  ControlServer& server() { return server_; }
  pid_t mpirun() const { return mpirun_; }
  /// Those of this machine, without zombies: a pid of another machine means nothing here.
  std::vector<pid_t> processes() const;
  /// Ranks that stand by begin. Until then they load when no other process wants the core, where
  /// this user may give them their priority back.
  void go();
  /// SIGKILL to all of them, until none is left or some seconds have passed. Returns those that
  /// are left: stuck in the kernel. A second call does nothing.
  std::vector<pid_t> end();

  std::map<int, Hello> hellos;       // of the ranks that have come
  std::optional<int> mpirun_status;  // once it has ended: its exit status, or 128 + a signal

 private:
  std::string mark() const { return "KENTE_CONTROL_TOKEN=" + token_; }

  const Options options_;
  const std::string token_;
  ControlServer server_;
  std::optional<MpiScratch> scratch_;
  RankOutput output_;
  pid_t mpirun_ = -1;
  bool ended_ = false;
};

}  // namespace kente
