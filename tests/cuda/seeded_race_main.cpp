#include <cstdio>
#include <string>

#include "tests/cuda/seeded_kernels.h"

// seeded_race KERNEL: runs one kernel of seeded_kernels.h under ThreadSanitizer, which must report
// its race, or nothing where there is none. CTest looks at what it prints.
int main(int argc, char** argv) {
  using namespace kente::cuda;
  const std::string name = argc == 2 ? argv[1] : "";
  Seeded kernel = nullptr;
  if (name == "none") kernel = reverse_twice<Barriers::kAll>;
  if (name == "first") kernel = reverse_twice<Barriers::kFirstDeleted>;
  if (name == "second") kernel = reverse_twice<Barriers::kSecondDeleted>;
  if (name == "no-warp") kernel = reverse_warps<WarpBarrier::kThere>;
  if (name == "warp") kernel = reverse_warps<WarpBarrier::kDeleted>;
  if (kernel == nullptr) return 2;
  host::Gpu gpu;
  const auto bytes = static_cast<int64_t>(kSeededThreads * sizeof(float));
  auto* in = reinterpret_cast<float*>(gpu.memory().allocate("in", bytes));
  auto* out = reinterpret_cast<float*>(gpu.memory().allocate("out", bytes));
  const cudaError_t launched = KENTE_LAUNCH(kernel, dim3(2), dim3(kSeededThreads), 0, nullptr,
                                            Global<const float>(in), Global<float>(out));
  std::printf("ended with %d\n", static_cast<int>(launched));
  return 0;
}
