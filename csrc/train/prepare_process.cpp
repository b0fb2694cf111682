#include "csrc/train/prepare_process.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <stdlib.h>

#include <limits>

namespace kente {
namespace {

/// glibc gives what is large back to the kernel when it is freed, and the kernel clears every page
/// of it before it gives it out again: 6 to 8 % of a step of the 6.9M shape, whose tensors come and
/// go with each micro-batch.
void keep_freed_memory() {
  constexpr int kLarge = 1 << 30;
  // Where the threshold has a limit, as in older versions, nothing is mapped by itself.
  if (::mallopt(M_MMAP_THRESHOLD, kLarge) == 0) ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  constexpr int kAtOnce = 64 << 20;
  ::mallopt(M_TOP_PAD, kAtOnce);
}

}  // namespace

void prepare_process() {
  // MKL wants to be told before its first call.
  const bool avx512 = __builtin_cpu_supports("avx512f");
  ::setenv("MKL_CBWR", avx512 ? "AVX512,STRICT" : "AVX2,STRICT", 0);
  at::set_num_threads(1);
  // Softmax gradients turn denormal after a while, which costs a factor of ten; the loader touches
  // no floats.
  at::globalContext().setFlushDenormal(true);
  keep_freed_memory();
}

}  // namespace kente
