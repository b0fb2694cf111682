#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/errors.h"
#include "launch/device_flags.h"

namespace kente {

struct BenchFlags {
  std::string recipe, out = "bench", imitate;
  std::vector<std::string> overrides, compare;  // compare: none, or two profiles
  DeviceFlags device;
  bool full = false, json = false;
  double timeout = 600;
};

void add_bench(Command& app, BenchFlags& flags);

/// What main knows of this process.
struct BenchProcess {
  std::string build_id, limits;
  bool terminal = false;  // people watch
};

/// kente bench under mpirun: measures, writes DIR/cluster.textproto and DIR/bench.html, prints a
/// table. A collective.
ExitStatus run_bench(const BenchFlags& flags, const BenchProcess& process, Communicator& world);

/// kente bench --compare A B: prints a table and, with --out FILE.html, writes a page.
ExitStatus compare_clusters(const BenchFlags& flags);

}  // namespace kente
