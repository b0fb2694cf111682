#include "csrc/measure/host.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <initializer_list>

#include "csrc/base/proc_files.h"

namespace kente {
namespace {

std::string text_after(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

/// Cores of the affinity mask, and of the tightest CPU quota rounded up.
int64_t usable_cores(const std::string& root) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  int64_t cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (::sched_getaffinity(0, sizeof mask, &mask) == 0) cores = CPU_COUNT(&mask);
  for (const std::string& directory : cgroups(root, "cpu")) {
    std::ifstream v2(directory + "/cpu.max");
    double quota = 0, period = 0;
    if (!(v2 >> quota >> period)) {
      quota = static_cast<double>(number_in(directory + "/cpu.cfs_quota_us"));
      period = static_cast<double>(number_in(directory + "/cpu.cfs_period_us"));
      if (quota <= 0 || quota > 1e15) continue;
    }
    if (quota > 0 && period > 0)
      cores = std::min(cores, static_cast<int64_t>(std::ceil(quota / period)));
  }
  return cores;
}

std::string instruction_sets(const std::string& root) {
  const std::string flags = " " + text_after(root + "/proc/cpuinfo", "flags") + " ";
  std::string found;
  for (const char* name : {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni"})
    if (flags.find(std::string(" ") + name + " ") != std::string::npos)
      found += (found.empty() ? "" : " ") + std::string(name);
  return found;
}

std::vector<std::string> interfaces_up() {
  std::vector<std::string> names;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return names;
  for (const ifaddrs* at = list; at; at = at->ifa_next)
    if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET && (at->ifa_flags & IFF_UP) != 0 &&
        std::find(names.begin(), names.end(), at->ifa_name) == names.end())
      names.emplace_back(at->ifa_name);
  ::freeifaddrs(list);
  std::sort(names.begin(), names.end());
  return names;
}

/// What RLIMIT_AS still lets this process map.
int64_t address_space_left(const std::string& root) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kNoLimit;
  const int64_t mapped = number_after(root + "/proc/self/status", "VmSize:");
  const int64_t all = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, kNoLimit));
  return mapped == kNoLimit ? all : std::max<int64_t>(0, all - mapped * 1024);
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

}  // namespace

HostFacts read_host(const std::string& root) {
  HostFacts facts;
  facts.name = host_name();
  facts.cpu_vendor = text_after(root + "/proc/cpuinfo", "vendor_id");
  facts.cpu_model = text_after(root + "/proc/cpuinfo", "model name");
  facts.instructions = instruction_sets(root);
  facts.cores = usable_cores(root);
  const int64_t total = number_after(root + "/proc/meminfo", "MemTotal:");
  facts.memory_bytes = std::min(total == kNoLimit ? 0 : total * 1024, cgroup_memory(root).limit);
  facts.free_bytes = std::min(free_memory(root), address_space_left(root));
  const int64_t own = number_after(root + "/proc/self/status", "RssAnon:");
  facts.own_bytes = own == kNoLimit ? 0 : own * 1024;
  struct statvfs shm {};
  if (::statvfs((root + "/dev/shm").c_str(), &shm) == 0)
    facts.shm_bytes = static_cast<int64_t>(shm.f_blocks * shm.f_frsize);
  facts.interfaces = interfaces_up();
  return facts;
}

}  // namespace kente
