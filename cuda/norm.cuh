#pragma once

#include <algorithm>

#include "cuda/check.h"
#include "cuda/dispatch.cuh"
#include "cuda/norm.h"
#include "cuda/reduce.cuh"
#include "cuda/row.cuh"

namespace kente::cuda {

static_assert(kMostNormWidth == kMostRowWidth);

enum class Norm { kRms, kLayer };

/// A block has several rows at a time, as many as it has threads for, and every blocks-th such
/// group: w stays in registers for all of them.
struct NormShape {
  dim3 grid, block;
};

inline NormShape norm_shape(int64_t rows, int64_t width, const Tuning& tuning) {
  constexpr int64_t kThreads = 512;
  const int64_t threads = ceil_div(width, kWarp * kRowElements) * kWarp;
  const int64_t beside = std::max<int64_t>(1, kThreads / threads);
  const int64_t blocks = tuning.row_blocks * kThreads / (threads * beside);
  NormShape shape;
  shape.block = dim3(static_cast<unsigned>(threads), static_cast<unsigned>(beside));
  shape.grid = dim3(static_cast<unsigned>(
      std::clamp<int64_t>(ceil_div(rows, beside), 1, std::max<int64_t>(1, blocks))));
  return shape;
}

template <class T>
struct NormForwardTensors {
  Global<const T> x, residual;
  Global<const float> w, b;
  Global<T> sum, y;
  Global<float> stats;
};

template <class T, Norm kNorm>
__global__ void __launch_bounds__(1024)
    norm_forward_kernel(NormForwardTensors<T> t, int64_t rows, int width, float eps) {
  const int64_t step = int64_t{gridDim.x} * blockDim.y;
  const float share = 1.0f / static_cast<float>(width);
  const Floats<kRowElements> w = load_over_row<T>(t.w, width);
  Floats<kRowElements> b{};
  if (kNorm == Norm::kLayer) b = load_over_row<T>(t.b, width);
  int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  RowPart<T> next{};
  if (row < rows) next = load_row(t.x, row, width);
  // The whole block goes round as often as its first row needs.
  for (int64_t first = row - threadIdx.y; first < rows; first += step, row += step) {
    const bool inside = row < rows;
    Floats<kRowElements> x = to_floats(next);
    if (row + step < rows) next = load_row(t.x, row + step, width);
    if (inside && !t.residual.empty()) {
      const Floats<kRowElements> residual = to_floats(load_row(t.residual, row, width));
      KENTE_UNROLL
      for (int i = 0; i < kRowElements; ++i) x[i] += residual[i];
      const RowPart<T> sum = rounded_row<T>(x);
      store_row(t.sum, row, width, sum);
      x = to_floats(sum);
    }
    float mean = 0;
    if (kNorm == Norm::kLayer) {
      float sum = 0;
      KENTE_UNROLL
      for (int i = 0; i < kRowElements; ++i) sum += x[i];
      mean = row_sum(sum) * share;
    }
    float squares = 0;
    KENTE_UNROLL
    for (int i = 0; i < kRowElements; ++i) {
      const float centred = row_column<T>(i / kWide<T>) < width ? x[i] - mean : 0.0f;
      squares += centred * centred;
    }
    const float rstd = rsqrtf(row_sum(squares) * share + eps);
    if (!inside) continue;
    if (threadIdx.x == 0) {
      if (kNorm == Norm::kLayer)
        t.stats.template store<8>(2 * row, {mean, rstd});
      else
        t.stats.store_one(row, rstd);
    }
    KENTE_UNROLL
    for (int i = 0; i < kRowElements; ++i) x[i] = (x[i] - mean) * rstd * w[i] + b[i];
    store_row(t.y, row, width, rounded_row<T>(x));
  }
}

template <Norm kNorm>
bool valid(const NormForward& n) {
  return valid_rows(n.rows) && n.width > 0 && n.width <= kMostNormWidth && n.width % 8 == 0 &&
         aligned(n.x, n.w, n.y, n.stats) && (kNorm == Norm::kRms || aligned(n.b)) &&
         (n.residual == nullptr || (aligned(n.residual, n.sum) && n.y != n.sum));
}

template <Norm kNorm>
cudaError_t norm_forward(const NormForward& n, const Queue& queue) {
  if (!valid<kNorm>(n)) return cudaErrorInvalidValue;
  const NormShape shape = norm_shape(n.rows, n.width, queue.tuning);
  return with_type(n.dtype, [&]<class T>(TypeName<T>) {
    const NormForwardTensors<T> tensors{.x = global<const T>(n.x),
                                        .residual = global<const T>(n.residual),
                                        .w = Global(n.w),
                                        .b = Global(n.b),
                                        .sum = global<T>(n.sum),
                                        .y = global<T>(n.y),
                                        .stats = Global(n.stats)};
    return KENTE_LAUNCH((norm_forward_kernel<T, kNorm>), shape.grid, shape.block, 0, queue.stream,
                        tensors, n.rows, static_cast<int>(n.width), n.eps);
  });
}

}  // namespace kente::cuda
