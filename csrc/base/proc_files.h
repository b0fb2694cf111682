#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace kente {

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// The first word of a file as a number; kNoLimit for "max" and where there is none.
int64_t number_in(const std::string& path);
/// The number after a key at the beginning of a line; kNoLimit where there is none.
int64_t number_after(const std::string& path, const std::string& key);

/// The process's cgroup and those above it, as directories; v1: of one controller. root: as
/// free_memory()'s.
std::vector<std::string> cgroups(const std::string& root, const std::string& controller);

/// Bytes the tightest of the process's cgroups (v2 or v1) allows in all, and still.
struct CgroupMemory {
  int64_t limit = kNoLimit;
  int64_t left = kNoLimit;
};
CgroupMemory cgroup_memory(const std::string& root);

/// Bytes that new processes can really have: MemAvailable, and what the process's cgroups still
/// allow when reclaimable file pages are given back. root: "" for the machine itself; a test's
/// directory with proc/ and sys/ below it.
int64_t free_memory(const std::string& root);

}  // namespace kente
