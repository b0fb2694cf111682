#include "cuda/rope.h"

#include "cuda/dispatch.cuh"
#include "cuda/matrix.cuh"

namespace kente::cuda {
namespace {

/// A thread has one access of a half head, of every head of its row: cos and sin stay in registers.
template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    rope_kernel(Global<T> x, Global<const int32_t> positions, Global<const float> cos_sin,
                unsigned accesses, int heads, int half, int64_t stride, float sign) {
  const MatrixPlace at(accesses, static_cast<unsigned>(half / kWide<T>), kWide<T>);
  if (!at.inside) return;
  const int64_t table_at = int64_t{positions.load_one(at.row)} * 2 * half + at.column;
  const auto cos = load_floats<kWide<T>>(cos_sin, table_at);
  auto sin = load_floats<kWide<T>>(cos_sin, table_at + half);
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) sin[i] *= sign;
  for (int head = 0; head < heads; ++head) {
    const int64_t index = at.row * stride + int64_t{head} * 2 * half + at.column;
    auto first = to_floats(x.template load<16>(index));
    auto second = to_floats(x.template load<16>(index + half));
    KENTE_UNROLL
    for (int i = 0; i < kWide<T>; ++i) {
      const float turned = first[i] * cos[i] - second[i] * sin[i];
      second[i] = second[i] * cos[i] + first[i] * sin[i];
      first[i] = turned;
    }
    x.template store<16>(index, rounded<T>(first));
    x.template store<16>(index + half, rounded<T>(second));
  }
}

bool valid(const Rope& op) {
  return valid_rows(op.heads) && valid_rows(op.head_dim) && op.head_dim % 16 == 0 &&
         op.heads <= kMostRows / op.head_dim && op.stride >= op.heads * op.head_dim &&
         valid_matrix(op.rows, op.stride) && aligned(op.x, op.positions, op.cos_sin);
}

}  // namespace

cudaError_t rope(const Rope& op, const Queue& queue) {
  if (!valid(op)) return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const int64_t half = op.head_dim / 2;
    const unsigned accesses = matrix_accesses<T>(op.rows, half);
    return KENTE_LAUNCH(rope_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<T>(op.x), Global(op.positions), Global(op.cos_sin),
                        accesses, static_cast<int>(op.heads), static_cast<int>(half), op.stride,
                        op.direction == RopeDirection::kForward ? 1.0f : -1.0f);
  });
}

}  // namespace kente::cuda
