#include "csrc/measure/host.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "csrc/base/proc_files.h"
#include "csrc/measure/power.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

constexpr int64_t kMiB = 1 << 20;

/// A machine made of files.
class FakeHost : public testing::Test {
 protected:
  FakeHost() {
    put("proc/meminfo", "MemTotal: 4096000 kB\nMemFree: 1 kB\nMemAvailable:    2048000 kB\n");
    put("proc/cpuinfo",
        "vendor_id\t: AuthenticAMD\nmodel name\t: EPYC 1\nflags\t\t: fpu avx2 avx512f sse2\n");
    put("proc/self/cgroup", "0::/a/b\n");
    put("proc/self/status", "Name: x\nVmSize: 1000 kB\nRssAnon:\t   2048 kB\n");
    std::filesystem::create_directories(root_ / "dev/shm");
  }
  void put(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    write_bytes(path.string(), text);
  }

  TemporaryDirectory root_;
};

TEST_F(FakeHost, ReadsProcessorAndMemory) {
  const HostFacts facts = read_host(root_.path());
  EXPECT_EQ(facts.cpu_vendor, "AuthenticAMD");
  EXPECT_EQ(facts.cpu_model, "EPYC 1");
  EXPECT_EQ(facts.instructions, "avx2 avx512f");
  EXPECT_EQ(facts.memory_bytes, 4000 * kMiB);
  EXPECT_EQ(facts.free_bytes, 2000 * kMiB);
  EXPECT_EQ(facts.own_bytes, 2 * kMiB);
  EXPECT_GE(facts.cores, 1);
  EXPECT_GT(facts.shm_bytes, 0);
}

TEST_F(FakeHost, ACgroupAboveLimitsToo) {
  put("sys/fs/cgroup/a/memory.current", "104857600");
  put("sys/fs/cgroup/a/memory.max", "524288000");
  put("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 52428800\nactive_file 1\n");
  put("sys/fs/cgroup/a/b/memory.current", "1");
  put("sys/fs/cgroup/a/b/memory.max", "max");
  EXPECT_EQ(free_memory(root_.path()), (500 - 100 + 50) * kMiB)
      << "file pages that nobody needs are given back";
  EXPECT_EQ(read_host(root_.path()).memory_bytes, 500 * kMiB);
}

TEST_F(FakeHost, TheOlderKindOfCgroupLimitsToo) {
  put("proc/self/cgroup", "7:memory:/job\n3:cpu,cpuacct:/job\n");
  put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "209715200");
  put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "104857600");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(free_memory(root_.path()), 100 * kMiB);
}

TEST_F(FakeHost, AQuotaOfOneCoreIsOneCore) {
  put("sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(read_host(root_.path()).cores, 1);
}

TEST_F(FakeHost, AMachineThatTellsNothingHasNothing) {
  std::filesystem::remove_all(root_ / "proc");
  const HostFacts facts = read_host(root_.path());
  EXPECT_EQ(facts.free_bytes, 0);
  EXPECT_EQ(facts.cpu_model, "");
}

TEST_F(FakeHost, EnergyIsSummedOverPackagesAndACounterMayRunOver) {
  for (const char* zone : {"intel-rapl:0", "intel-rapl:1"}) {
    put(std::string(zone) + "/name", zone[11] == '0' ? "package-0" : "package-1");
    put(std::string(zone) + "/max_energy_range_uj", "1000000");
    put(std::string(zone) + "/energy_uj", "900000");
  }
  put("intel-rapl:0:0/name", "dram");
  put("intel-rapl:0:0/energy_uj", "5");
  EnergyCounter counter(root_.path());
  put("intel-rapl:0/energy_uj", "950000");
  put("intel-rapl:1/energy_uj", "100000");
  EXPECT_DOUBLE_EQ(counter.joules().value(), 0.05 + 0.2);
  EXPECT_DOUBLE_EQ(counter.joules().value(), 0) << "since the last call";
}

TEST_F(FakeHost, EnergyThatCannotBeReadIsEmpty) {
  EXPECT_FALSE(EnergyCounter(root_ / "nowhere").joules().has_value());
  EXPECT_FALSE(EnergyCounter(root_.path()).joules().has_value());
}

}  // namespace
}  // namespace kente
