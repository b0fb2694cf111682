#pragma once

#include <filesystem>

#include "csrc/base/log_file.h"
#include "csrc/measure/bench.h"

namespace kente {

/// What kente bench finds of these ranks: all that a benchmark's planner knows of them. imitation:
/// devices that wait; null: none. A collective.
inline ClusterProfile measured_cluster(const Recipe& recipe, Communicator& world,
                                       const Imitation* imitation = nullptr) {
  const auto files = posix_file_system();
  const auto log = null_log();
  BenchOptions bench;
  bench.recipe = recipe;
  if (imitation) bench.imitation = *imitation;
  bench.out_directory = std::filesystem::temp_directory_path();
  bench.build_id = "benchmark";
  return measure_cluster(bench, world, *files, *log).cluster;
}

}  // namespace kente
