#include "cuda/embedding.h"

#include "cuda/dispatch.cuh"
#include "cuda/flat.cuh"
#include "cuda/matrix.cuh"

namespace kente::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    embedding_kernel(Global<const T> table, Global<const int32_t> ids, Global<const T> more,
                     Global<const int32_t> positions, Global<T> y, unsigned accesses,
                     unsigned width) {
  const MatrixPlace at(accesses, width / kWide<T>, kWide<T>);
  if (!at.inside) return;
  auto row = table.template load<16>(int64_t{ids.load_one(at.row)} * width + at.column);
  if (!more.empty()) {
    auto sum = to_floats(row);
    const auto position =
        to_floats(more.template load<16>(int64_t{positions.load_one(at.row)} * width + at.column));
    KENTE_UNROLL
    for (int i = 0; i < kWide<T>; ++i) sum[i] += position[i];
    row = rounded<T>(sum);
  }
  y.template store<16>(int64_t{at.row} * width + at.column, row);
}

/// A warp has a group's columns of one run.
constexpr int kRunWarps = 4;

/// A row's elements, as they lie in memory: of fp32 in the order of groups, of 16-bit types eight
/// beside each other in a lane. Zeros where the row has ended.
__device__ __forceinline__ void add_row(Global<const float> dy, int64_t row_at, int begin,
                                        int width, GroupPart& sum) {
  KENTE_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int column = begin + group_column(4 * half);
    if (column >= width) continue;
    const auto four = dy.load<16>(row_at + column);
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) sum[4 * half + i] += four[i];
  }
}

template <class T>
__device__ __forceinline__ void add_row(Global<const T> dy, int64_t row_at, int begin, int width,
                                        GroupPart& sum) {
  const int column = begin + static_cast<int>(threadIdx.x % kWarp) * 8;
  if (column >= width) return;
  const auto eight = to_floats(dy.template load<16>(row_at + column));
  KENTE_UNROLL
  for (int i = 0; i < 8; ++i) sum[i] += eight[i];
}

/// Into the order of groups.
template <class T>
__device__ __forceinline__ GroupPart in_groups(const GroupPart& sum) {
  if constexpr (sizeof(T) == 4) return sum;
  const unsigned lane = threadIdx.x % kWarp;
  GroupPart result;
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) {
    const int source = i / 4 * (kWarp / 2) + static_cast<int>(lane / 2);
    const float low = __shfl_sync(kAllLanes, sum[i % 4], source);
    const float high = __shfl_sync(kAllLanes, sum[4 + i % 4], source);
    result[i] = lane % 2 == 0 ? low : high;
  }
  return result;
}

template <class T>
__global__ void __launch_bounds__(kRunWarps* kWarp)
    embedding_backward_kernel(Global<const T> dy, Global<const int32_t> rows,
                              Global<const int32_t> begins, Global<const int32_t> ids,
                              Global<float> grad_table, int width) {
  const int warp = static_cast<int>(blockIdx.y * kRunWarps + threadIdx.x / kWarp);
  const int begin = warp * kGroup;
  if (begin >= width) return;  // the whole warp
  const int32_t first = begins.load_one(blockIdx.x), last = begins.load_one(blockIdx.x + 1);
  GroupPart sum{};
  KENTE_UNROLL_BY(4)
  for (int32_t i = first; i < last; ++i)
    add_row(dy, int64_t{rows.load_one(i)} * width, begin, width, sum);
  sum = in_groups<T>(sum);
  const int64_t row_at = int64_t{ids.load_one(blockIdx.x)} * width;
  KENTE_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int column = begin + group_column(4 * half);
    if (column >= width) continue;
    Vector<float, 4> grad = grad_table.load<16>(row_at + column);
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) grad[i] += sum[4 * half + i];
    grad_table.store<16>(row_at + column, grad);
  }
}

}  // namespace

cudaError_t embedding(const Embedding& op, const Queue& queue) {
  if (!valid_matrix(op.rows, op.width) || !aligned(op.table, op.ids, op.y) ||
      (op.positions_table != nullptr && !aligned(op.positions_table, op.positions)))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const unsigned accesses = matrix_accesses<T>(op.rows, op.width);
    return KENTE_LAUNCH(embedding_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<const T>(op.table), Global(op.ids),
                        global<const T>(op.positions_table), Global(op.positions), global<T>(op.y),
                        accesses, static_cast<unsigned>(op.width));
  });
}

cudaError_t embedding_backward(const EmbeddingBackward& op, const Queue& queue) {
  if (!valid_matrix(op.runs, op.width) ||
      !aligned(op.dy, op.rows, op.begins, op.ids, op.grad_table))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const int64_t columns = ceil_div(op.width, kRunWarps * kGroup);
    return KENTE_LAUNCH(embedding_backward_kernel<T>,
                        dim3(static_cast<unsigned>(op.runs), static_cast<unsigned>(columns)),
                        dim3(kRunWarps * kWarp), 0, queue.stream, global<const T>(op.dy),
                        Global(op.rows), Global(op.begins), Global(op.ids), Global(op.grad_table),
                        static_cast<int>(op.width));
  });
}

}  // namespace kente::cuda
