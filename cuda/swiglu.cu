#include "cuda/activation.h"
#include "cuda/dispatch.cuh"
#include "cuda/matrix.cuh"

namespace kente::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    swiglu_kernel(Global<const T> gate_up, Global<T> y, unsigned accesses, unsigned width) {
  const MatrixPlace at(accesses, width / kWide<T>, kWide<T>);
  if (!at.inside) return;
  const int64_t gate_at = int64_t{at.row} * 2 * width + at.column;
  const auto gate = to_floats(gate_up.template load<16>(gate_at));
  auto up = to_floats(gate_up.template load<16>(gate_at + width));
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) up[i] *= gate[i] * sigmoid(gate[i]);
  y.template store<16>(int64_t{at.row} * width + at.column, rounded<T>(up));
}

template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    swiglu_backward_kernel(Global<const T> gate_up, Global<const T> dy, Global<T> grad,
                           unsigned accesses, unsigned width) {
  const MatrixPlace at(accesses, width / kWide<T>, kWide<T>);
  if (!at.inside) return;
  const int64_t gate_at = int64_t{at.row} * 2 * width + at.column;
  auto gate = to_floats(gate_up.template load<16>(gate_at));
  auto up = to_floats(gate_up.template load<16>(gate_at + width));
  const auto g = to_floats(dy.template load<16>(int64_t{at.row} * width + at.column));
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) {
    const float s = sigmoid(gate[i]), silu = gate[i] * s;
    gate[i] = g[i] * up[i] * (s + silu * (1.0f - s));
    up[i] = g[i] * silu;
  }
  grad.template store<16>(gate_at, rounded<T>(gate));
  grad.template store<16>(gate_at + width, rounded<T>(up));
}

}  // namespace

cudaError_t swiglu(const Swiglu& op, const Queue& queue) {
  if (!valid_matrix(op.rows, op.width) || !aligned(op.gate_up, op.y)) return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const unsigned accesses = matrix_accesses<T>(op.rows, op.width);
    return KENTE_LAUNCH(swiglu_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<const T>(op.gate_up), global<T>(op.y), accesses,
                        static_cast<unsigned>(op.width));
  });
}

cudaError_t swiglu_backward(const SwigluBackward& op, const Queue& queue) {
  if (!valid_matrix(op.rows, op.width) || !aligned(op.gate_up, op.dy, op.grad))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const unsigned accesses = matrix_accesses<T>(op.rows, op.width);
    return KENTE_LAUNCH(swiglu_backward_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<const T>(op.gate_up), global<const T>(op.dy),
                        global<T>(op.grad), accesses, static_cast<unsigned>(op.width));
  });
}

}  // namespace kente::cuda
