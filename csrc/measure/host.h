#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kente {

/// What one rank sees of its machine.
struct HostFacts {
  std::string name;
  std::string cpu_vendor, cpu_model;
  std::string instructions;  // the sets that change results or speed: "avx2 avx512f amx_bf16"
  int64_t cores = 0;         // that this process may use: affinity and cgroup quota
  int64_t memory_bytes = 0;  // of the machine, or of the cgroup where that is less
  int64_t free_bytes = 0;    // really available to new processes: machine, cgroup, RLIMIT_AS
  int64_t own_bytes = 0;     // this process already holds
  int64_t shm_bytes = 0;     // size of /dev/shm
  std::vector<std::string> interfaces;  // that are up and have an IPv4 address

  bool operator==(const HostFacts&) const = default;
};

/// root: "" for the machine itself; a test's directory with proc/, sys/ and dev/shm below it.
HostFacts read_host(const std::string& root);

}  // namespace kente
