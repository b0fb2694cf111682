#include "csrc/base/proc_files.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace kente {

int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : kNoLimit;
}

int64_t number_after(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    std::istringstream rest(line.substr(key.size()));
    int64_t value = 0;
    if (rest >> value) return value;
  }
  return kNoLimit;
}

std::vector<std::string> cgroups(const std::string& root, const std::string& controller) {
  std::ifstream own(root + "/proc/self/cgroup");
  std::vector<std::string> directories;
  for (std::string line; std::getline(own, line);) {
    const bool v2 = line.starts_with("0::");
    const size_t second = line.find(':', line.find(':') + 1);
    if (second == std::string::npos) continue;
    if (!v2 && line.find(controller) == std::string::npos) continue;
    const std::string base = root + "/sys/fs/cgroup" + (v2 ? "" : "/" + controller);
    std::string path = line.substr(second + 1);
    while (!path.empty() && path != "/") {
      directories.push_back(base + path);
      path.resize(path.rfind('/'));
    }
    directories.push_back(base);
  }
  return directories;
}

CgroupMemory cgroup_memory(const std::string& root) {
  CgroupMemory tightest;
  for (const std::string& directory : cgroups(root, "memory")) {
    const bool v2 = number_in(directory + "/memory.current") != kNoLimit;
    const int64_t limit = number_in(directory + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (limit == kNoLimit || limit > kNoLimit / 2) continue;
    const int64_t used = number_in(directory + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    const int64_t reclaimable =
        number_after(directory + "/memory.stat", v2 ? "inactive_file " : "total_inactive_file ");
    const int64_t left =
        limit - (used == kNoLimit ? 0 : used) + (reclaimable == kNoLimit ? 0 : reclaimable);
    tightest.limit = std::min(tightest.limit, limit);
    tightest.left = std::min(tightest.left, std::clamp<int64_t>(left, 0, limit));
  }
  return tightest;
}

int64_t free_memory(const std::string& root) {
  const int64_t available = number_after(root + "/proc/meminfo", "MemAvailable:");
  const int64_t machine = available == kNoLimit ? 0 : available * 1024;
  return std::min(machine, cgroup_memory(root).left);
}

}  // namespace kente
