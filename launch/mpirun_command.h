#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/hosts.h"

namespace kente {

/// How mpirun starts a run's ranks.
struct MpirunOptions {
  int ranks = 0;            // 0: as many as the hosts have slots
  std::vector<Host> hosts;  // empty: this machine
  std::string mpirun = "mpirun";
  std::string worker;                   // kente-worker
  std::vector<std::string> train_args;  // kente train's own, without --resume
};

/// The exact command of a start on these hosts. The token and where to report go by the
/// environment. While hosts are left out a plan or profile that a person named is not used: it is
/// for all ranks. stands_by: for ranks that wait for a word before they begin.
std::vector<std::string> mpirun_command(const MpirunOptions& options, const HostPool& hosts,
                                        bool resume, bool stands_by = false);

/// What starts a program on a host that is named next.
std::vector<std::string> launcher(const MpirunOptions& options);

}  // namespace kente
