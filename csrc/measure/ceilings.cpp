#include "csrc/measure/ceilings.h"

#include <cstring>
#include <utility>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr size_t kBytes = size_t{48} << 20;

}  // namespace

double copy_bytes_per_second(double seconds) {
  std::vector<char> from(kBytes, 1);
  std::vector<char> to(kBytes);
  int64_t copies = 0;
  const int64_t begin = now_ns();
  double took = 0;
  do {
    std::memcpy(to.data(), from.data(), kBytes);
    KENTE_CHECK(to[kBytes / 2] == 1, "a copy that copies nothing");
    std::swap(from, to);
    ++copies;
    took = static_cast<double>(now_ns() - begin) * 1e-9;
  } while (took < seconds);
  return 2.0 * kBytes * static_cast<double>(copies) / took;
}

}  // namespace kente
