#include "cuda/column_sum.h"

#include <algorithm>

#include "cuda/check.h"
#include "cuda/dispatch.cuh"
#include "cuda/reduce.cuh"

namespace kente::cuda {
namespace {

constexpr int kBlockRows = 8;  // threadIdx.y takes every eighth row
constexpr int kElements = 8;   // columns of a thread
constexpr int64_t kRowsOfABlock = 64;

/// The sums of a block's rows, in row order for each thread and then over the threads in order.
template <class T>
__global__ void __launch_bounds__(kWarp* kBlockRows)
    column_sum_kernel(Global<const T> x, int64_t rows, int64_t columns, int64_t rows_of_block,
                      Global<float> partial) {
  constexpr int kParts = kElements / kWide<T>;
  const int64_t first = int64_t{blockIdx.y} * rows_of_block;
  const int64_t last = first + rows_of_block < rows ? first + rows_of_block : rows;
  const int64_t column_0 = int64_t{blockIdx.x} * kWarp * kElements;
  float sums[kElements] = {};
  for (int64_t row = first + threadIdx.y; row < last; row += kBlockRows) {
    KENTE_UNROLL
    for (int p = 0; p < kParts; ++p) {
      const int64_t column = column_0 + (int64_t{p} * kWarp + threadIdx.x) * kWide<T>;
      if (column >= columns) continue;
      const auto part = to_floats(x.template load<16>(row * columns + column));
      KENTE_UNROLL
      for (int i = 0; i < kWide<T>; ++i) sums[p * kWide<T> + i] += part[i];
    }
  }
  KENTE_SHARED(float, of_thread, kBlockRows* kElements* kWarp);
  KENTE_UNROLL
  for (int i = 0; i < kElements; ++i)
    of_thread[(threadIdx.y * kElements + static_cast<unsigned>(i)) * kWarp + threadIdx.x] = sums[i];
  __syncthreads();
  // Thread (x, y) adds up the element y of all threads x: kElements is kBlockRows.
  static_assert(kElements == kBlockRows);
  float sum = 0;
  KENTE_UNROLL
  for (unsigned y = 0; y < kBlockRows; ++y)
    sum += of_thread[(y * kElements + threadIdx.y) * kWarp + threadIdx.x];
  const auto i = static_cast<int>(threadIdx.y);
  const int64_t column =
      column_0 + (int64_t{i / kWide<T>} * kWarp + threadIdx.x) * kWide<T> + i % kWide<T>;
  if (column < columns) partial.store_one(int64_t{blockIdx.y} * columns + column, sum);
}

/// Each warp has 32 groups of four columns, each of its eight warps every eighth row.
__global__ void __launch_bounds__(kWarp* kBlockRows)
    add_column_sums_kernel(Global<const float> x, int64_t rows, int64_t columns,
                           Global<float> sums) {
  const int64_t column = (int64_t{blockIdx.x} * kWarp + threadIdx.x) * 4;
  Floats<4> sum{};
  if (column < columns)
    for (int64_t row = threadIdx.y; row < rows; row += kBlockRows) {
      const Floats<4> part = load_floats<4>(x, row * columns + column);
      KENTE_UNROLL
      for (int i = 0; i < 4; ++i) sum[i] += part[i];
    }
  KENTE_SHARED(float, of_warp, kBlockRows * 4 * kWarp);
  KENTE_UNROLL
  for (int i = 0; i < 4; ++i)
    of_warp[(threadIdx.y * 4 + static_cast<unsigned>(i)) * kWarp + threadIdx.x] = sum[i];
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  const Vector<float, 4> before = sums.load<16>(column);
  Floats<4> total{};
  KENTE_UNROLL
  for (int i = 0; i < 4; ++i) {
    for (unsigned y = 0; y < kBlockRows; ++y)
      total[i] += of_warp[(y * 4 + static_cast<unsigned>(i)) * kWarp + threadIdx.x];
    total[i] += before[i];
  }
  store_floats<4>(sums, column, total);
}

int64_t partial_rows(int64_t rows, const Tuning& tuning) {
  return std::clamp<int64_t>(ceil_div(rows, kRowsOfABlock), 1, tuning.row_blocks);
}

}  // namespace

cudaError_t add_column_sums(const float* x, int64_t rows, int64_t columns, float* sums,
                            cudaStream_t stream) {
  if (!valid_rows(rows) || !valid_rows(columns) || columns % 4 != 0 || !aligned(x, sums))
    return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>(ceil_div(columns, 4 * kWarp));
  return KENTE_LAUNCH(add_column_sums_kernel, dim3(blocks), dim3(kWarp, kBlockRows), 0, stream,
                      Global(x), rows, columns, Global(sums));
}

int64_t column_sum_workspace(int64_t rows, int64_t columns, const Tuning& tuning) {
  return partial_rows(rows, tuning) * columns;
}

cudaError_t column_sum(const ColumnSum& s, const Queue& queue) {
  if (!valid_rows(s.rows) || !valid_rows(s.columns) || s.columns % kElements != 0 ||
      !aligned(s.x, s.sums, s.workspace))
    return cudaErrorInvalidValue;
  const int64_t parts = partial_rows(s.rows, queue.tuning);
  const dim3 grid(static_cast<unsigned>(ceil_div(s.columns, kWarp * kElements)),
                  static_cast<unsigned>(parts));
  const cudaError_t launched = with_type(s.dtype, [&]<class T>(TypeName<T>) {
    return KENTE_LAUNCH(column_sum_kernel<T>, grid, dim3(kWarp, kBlockRows), 0, queue.stream,
                        global<const T>(s.x), s.rows, s.columns, ceil_div(s.rows, parts),
                        Global(s.workspace));
  });
  if (launched != cudaSuccess) return launched;
  return add_column_sums(s.workspace, parts, s.columns, s.sums, queue.stream);
}

}  // namespace kente::cuda
