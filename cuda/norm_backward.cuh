#pragma once

#include "cuda/column_sum.h"
#include "cuda/norm.cuh"

namespace kente::cuda {

template <class T>
struct NormBackwardTensors {
  Global<const T> x, dy, residual_grad;
  Global<const float> stats, w;
  Global<T> dx;
  Global<float> partial_w, partial_b;  // [blocks, width]
};

/// Every thread's sums over its rows, added over the block's rows in order; row 0 has them then.
__device__ __forceinline__ void combine_rows(Floats<kRowElements>& sums, float* shared) {
  if (blockDim.y == 1) return;
  for (unsigned turn = 0; turn < blockDim.y; ++turn) {
    if (threadIdx.y == turn) {
      KENTE_UNROLL
      for (int i = 0; i < kRowElements; ++i) {
        float& at = shared[static_cast<unsigned>(i) * blockDim.x + threadIdx.x];
        at = turn == 0 ? sums[i] : at + sums[i];
      }
    }
    __syncthreads();
  }
  if (threadIdx.y != 0) return;  // row 0 alone reads, and is the next to write
  KENTE_UNROLL
  for (int i = 0; i < kRowElements; ++i)
    sums[i] = shared[static_cast<unsigned>(i) * blockDim.x + threadIdx.x];
}

template <class T, Norm kNorm>
__global__ void __launch_bounds__(1024)
    norm_backward_kernel(NormBackwardTensors<T> t, int64_t rows, int width) {
  const int64_t step = int64_t{gridDim.x} * blockDim.y;
  const float share = 1.0f / static_cast<float>(width);
  const Floats<kRowElements> w = load_over_row<T>(t.w, width);
  Floats<kRowElements> grad_w{}, grad_b{};
  int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  for (int64_t first = row - threadIdx.y; first < rows; first += step, row += step) {
    const bool inside = row < rows;
    Floats<kRowElements> xhat{}, g{};
    float mean = 0, rstd = 0;
    if (inside) {
      xhat = to_floats(load_row(t.x, row, width));
      g = to_floats(load_row(t.dy, row, width));
      if (kNorm == Norm::kLayer) {
        const Vector<float, 2> stats = t.stats.template load<8>(2 * row);
        mean = stats[0];
        rstd = stats[1];
      } else {
        rstd = t.stats.load_one(row);
      }
    }
    float along = 0, offset = 0;
    KENTE_UNROLL
    for (int i = 0; i < kRowElements; ++i) {
      xhat[i] = (xhat[i] - mean) * rstd;
      grad_w[i] += g[i] * xhat[i];  // dy is 0 where the row has ended
      grad_b[i] += g[i];
      g[i] *= w[i];
      along += g[i] * xhat[i];
      offset += g[i];
    }
    if (kNorm == Norm::kLayer) {
      float sums[2] = {along, offset};
      row_sums(sums);
      along = sums[0] * share;
      offset = sums[1] * share;
    } else {
      along = row_sum(along) * share;
      offset = 0;
    }
    if (!inside) continue;
    KENTE_UNROLL
    for (int i = 0; i < kRowElements; ++i) g[i] = rstd * (g[i] - offset - xhat[i] * along);
    if (!t.residual_grad.empty()) {
      const Floats<kRowElements> more = to_floats(load_row(t.residual_grad, row, width));
      KENTE_UNROLL
      for (int i = 0; i < kRowElements; ++i) g[i] += more[i];
    }
    store_row(t.dx, row, width, rounded_row<T>(g));
  }
  KENTE_DYNAMIC_SHARED(float, shared);
  combine_rows(grad_w, shared);
  if (threadIdx.y == 0) store_over_row<T>(t.partial_w, blockIdx.x, width, grad_w);
  if (kNorm == Norm::kRms) return;
  combine_rows(grad_b, shared);
  if (threadIdx.y == 0) store_over_row<T>(t.partial_b, blockIdx.x, width, grad_b);
}

template <Norm kNorm>
bool valid(const NormBackward& n) {
  return valid_rows(n.rows) && n.width > 0 && n.width <= kMostNormWidth && n.width % 8 == 0 &&
         aligned(n.x, n.stats, n.w, n.dy, n.dx, n.grad_w, n.workspace) &&
         aligned_or_null(n.residual_grad) && (kNorm == Norm::kRms || aligned(n.grad_b));
}

template <Norm kNorm>
cudaError_t norm_backward(const NormBackward& n, const Queue& queue) {
  if (!valid<kNorm>(n)) return cudaErrorInvalidValue;
  const NormShape shape = norm_shape(n.rows, n.width, queue.tuning);
  const int64_t blocks = shape.grid.x;
  const size_t shared = shape.block.y == 1 ? 0 : shape.block.x * kRowElements * sizeof(float);
  float* const partial_b = n.workspace + blocks * n.width;
  const cudaError_t launched = with_type(n.dtype, [&]<class T>(TypeName<T>) {
    const NormBackwardTensors<T> tensors{.x = global<const T>(n.x),
                                         .dy = global<const T>(n.dy),
                                         .residual_grad = global<const T>(n.residual_grad),
                                         .stats = Global(n.stats),
                                         .w = Global(n.w),
                                         .dx = global<T>(n.dx),
                                         .partial_w = Global(n.workspace),
                                         .partial_b = Global(partial_b)};
    return KENTE_LAUNCH((norm_backward_kernel<T, kNorm>), shape.grid, shape.block, shared,
                        queue.stream, tensors, n.rows, static_cast<int>(n.width));
  });
  if (launched != cudaSuccess) return launched;
  const cudaError_t summed = add_column_sums(n.workspace, blocks, n.width, n.grad_w, queue.stream);
  if (summed != cudaSuccess || kNorm == Norm::kRms) return summed;
  return add_column_sums(partial_b, blocks, n.width, n.grad_b, queue.stream);
}

}  // namespace kente::cuda
