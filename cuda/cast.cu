#include "cuda/cast.h"

#include "cuda/dispatch.cuh"
#include "cuda/flat.cuh"

namespace kente::cuda {
namespace {

template <class From, class To>
__global__ void __launch_bounds__(kGroupThreads)
    cast_scale_kernel(Global<const From> from, Global<To> to, int64_t count, float factor) {
  const int64_t begin = group_of_warp() * kGroup;
  if (begin >= count) return;
  GroupPart part = load_any(from, begin, count);
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) part[i] *= factor;
  store_any(to, begin, count, part);
}

}  // namespace

cudaError_t cast_scale(const CastScale& op, const Queue& queue) {
  if (!valid_count(op.count) || !aligned(op.from, op.to)) return cudaErrorInvalidValue;
  return with_type(op.from_dtype, [&]<class From>(TypeName<From>) {
    return with_type(op.to_dtype, [&]<class To>(TypeName<To>) {
      return KENTE_LAUNCH((cast_scale_kernel<From, To>), group_grid(op.count), dim3(kGroupThreads),
                          0, queue.stream, global<const From>(op.from), global<To>(op.to), op.count,
                          op.factor);
    });
  });
}

}  // namespace kente::cuda
