#include "cuda/activation.h"
#include "cuda/dispatch.cuh"
#include "cuda/matrix.cuh"

namespace kente::cuda {
namespace {

constexpr float kRoot = 0.7978845608028654f;  // sqrt(2 / pi)
constexpr float kCube = 0.044715f;

/// 1 / (1 + e^(-2u)): what gelu multiplies its argument by.
__device__ __forceinline__ float gate_of(float h) {
  const float u = kRoot * (h + kCube * h * h * h);
  return __fdividef(1.0f, 1.0f + __expf(-2.0f * u));
}

template <class T>
__device__ __forceinline__ Floats<kWide<T>> load_biased(Global<const T> x, Global<const float> bias,
                                                        int64_t index, unsigned column) {
  auto h = to_floats(x.template load<16>(index));
  if (bias.empty()) return h;
  const auto b = load_floats<kWide<T>>(bias, column);
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) h[i] += b[i];
  return h;
}

template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    gelu_kernel(Global<const T> x, Global<const float> bias, Global<T> y, unsigned accesses,
                unsigned width) {
  const MatrixPlace at(accesses, width / kWide<T>, kWide<T>);
  if (!at.inside) return;
  const int64_t index = int64_t{at.row} * width + at.column;
  auto h = load_biased(x, bias, index, at.column);
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) h[i] *= gate_of(h[i]);
  y.template store<16>(index, rounded<T>(h));
}

template <class T>
__global__ void __launch_bounds__(kMatrixThreads)
    gelu_backward_kernel(Global<const T> x, Global<const float> bias, Global<const T> dy,
                         Global<T> dx, unsigned accesses, unsigned width) {
  const MatrixPlace at(accesses, width / kWide<T>, kWide<T>);
  if (!at.inside) return;
  const int64_t index = int64_t{at.row} * width + at.column;
  auto h = load_biased(x, bias, index, at.column);
  const auto g = to_floats(dy.template load<16>(index));
  KENTE_UNROLL
  for (int i = 0; i < kWide<T>; ++i) {
    const float s = gate_of(h[i]);
    const float du = kRoot * (1.0f + 3.0f * kCube * h[i] * h[i]);
    h[i] = g[i] * (s + 2.0f * h[i] * s * (1.0f - s) * du);
  }
  dx.template store<16>(index, rounded<T>(h));
}

}  // namespace

cudaError_t gelu(const Gelu& op, const Queue& queue) {
  if (!valid_matrix(op.rows, op.width) || !aligned(op.x, op.y) || !aligned_or_null(op.bias))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const unsigned accesses = matrix_accesses<T>(op.rows, op.width);
    return KENTE_LAUNCH(gelu_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<const T>(op.x), Global(op.bias), global<T>(op.y),
                        accesses, static_cast<unsigned>(op.width));
  });
}

cudaError_t gelu_backward(const GeluBackward& op, const Queue& queue) {
  if (!valid_matrix(op.rows, op.width) || !aligned(op.x, op.dy, op.dx) || !aligned_or_null(op.bias))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const unsigned accesses = matrix_accesses<T>(op.rows, op.width);
    return KENTE_LAUNCH(gelu_backward_kernel<T>, matrix_grid(accesses), dim3(kMatrixThreads), 0,
                        queue.stream, global<const T>(op.x), Global(op.bias),
                        global<const T>(op.dy), global<T>(op.dx), accesses,
                        static_cast<unsigned>(op.width));
  });
}

}  // namespace kente::cuda
