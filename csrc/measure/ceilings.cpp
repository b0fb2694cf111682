#include "csrc/measure/ceilings.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
double copy_bytes_per_second(Ops& ops, double seconds) {
  constexpr int64_t kFewest = 1 << 16, kMost = 1 << 28;  // elements
  constexpr double kLongEnough = 1e-3;
  const std::unique_ptr<WorkClock> clock = ops.work_clock();
  for (int64_t count = kFewest;; count *= 4) {
    const at::Tensor from = ops.zeros({count}, at::kFloat), to = ops.empty({count}, at::kFloat);
    const auto copy = [&](int64_t runs) {
      const double took = seconds_of(*clock, [&] {
        for (int64_t run = 0; run < runs; ++run) ops.cast(from, to);
      });
      return std::max(took, 1e-9);
    };
    copy(1);  // the kernel is loaded
    const double once = copy(1);
    if (once < kLongEnough && count < kMost) continue;
    const auto runs = std::max<int64_t>(1, std::llround(seconds / once));
    return 2.0 * sizeof(float) * static_cast<double>(count * runs) / copy(runs);
  }
}

}  // namespace kente
