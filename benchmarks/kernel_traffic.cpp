// kernel_traffic: runs every kernel of cuda/ on the CPU at a real width in bf16 and prints what it
// moved beside what it must: K1 and K3 of the kernels' figures, as a table. Weights of a norm, its
// statistics, positions and partial sums are not counted: they are small where rows are many.

#include <fmt/format.h>

#include <cstring>

#include "benchmarks/kernel_cases.h"
#include "cuda/host/gpu.h"

namespace kente::cuda {
namespace {

class HostMemory : public KernelMemory {
 public:
  host::Traffic moved() {
    host::Traffic sum;
    for (const auto& buffer : gpu_.memory().buffers()) {
      if (buffer->name != kBulk) continue;
      for (const host::Traffic& traffic : {buffer->loads, buffer->stores}) {
        sum.bytes += traffic.bytes;
        sum.wide_bytes += traffic.wide_bytes;
        sum.sectors += traffic.sectors;
        sum.least_sectors += traffic.least_sectors;
      }
    }
    return sum;
  }

 protected:
  void* zeros(int64_t bytes, Counted counted) override {
    std::byte* data = gpu_.memory().allocate(counted == Counted::kYes ? kBulk : "small", bytes);
    std::memset(data, 0, static_cast<size_t>(bytes));
    return data;
  }
  void write(void* to, const void* from, int64_t bytes) override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }

 private:
  static constexpr const char* kBulk = "bulk";
  host::Gpu gpu_;
};

int print_table() {
  fmt::print("| kernel | bytes that must move | moved / must | by 16 bytes | whole sectors |\n");
  fmt::print("|---|---|---|---|---|\n");
  for (const KernelCase& c : kernel_cases(KernelSizes())) {
    HostMemory memory;
    const Queue queue{.tuning = c.generation == 0 ? Tuning() : tuning_of(c.generation)};
    const cudaError_t error = c.prepare(memory, queue)();
    if (error != cudaSuccess) {
      fmt::print(stderr, "kernel_traffic: {}: CUDA error {}\n", c.op, static_cast<int>(error));
      return 1;
    }
    const host::Traffic moved = memory.moved();
    const auto of = [](int64_t part, int64_t whole) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    fmt::print("| {} | {} | {:.3f} | {:.0f} % | {:.0f} % |\n", c.op, c.model,
               of(moved.bytes, c.must), 100 * of(moved.wide_bytes, moved.bytes),
               100 * of(moved.least_sectors, moved.sectors));
  }
  return 0;
}

}  // namespace
}  // namespace kente::cuda

int main() { return kente::cuda::print_table(); }
