#include "cuda/adamw.h"

#include "cuda/dispatch.cuh"
#include "cuda/flat.cuh"

namespace kente::cuda {
namespace {

struct Factors {
  float gradient, beta1, beta2, eps, step_size, root_scale;
};

/// The group's new master weights.
template <class State>
__device__ __forceinline__ GroupPart update(const AdamWTensor& tensor, const Factors& f,
                                            int64_t begin) {
  const Global<State> m_at = global<State>(tensor.m), v_at = global<State>(tensor.v);
  const GroupPart grad = load_any(Global(tensor.grad), begin, tensor.count);
  GroupPart p = load_any(global<const float>(tensor.master), begin, tensor.count);
  GroupPart m = load_any(global<const State>(tensor.m), begin, tensor.count);
  GroupPart v = load_any(global<const State>(tensor.v), begin, tensor.count);
  KENTE_UNROLL
  for (int i = 0; i < kGroupLane; ++i) {
    const float g = grad[i] * f.gradient;
    m[i] = f.beta1 * m[i] + (1.0f - f.beta1) * g;
    v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * (g * g);
    p[i] =
        p[i] * (1.0f - tensor.decay) - f.step_size * (m[i] / (sqrtf(v[i]) * f.root_scale + f.eps));
  }
  store_any(m_at, begin, tensor.count, m);
  store_any(v_at, begin, tensor.count, v);
  store_any(Global(tensor.master), begin, tensor.count, p);
  return p;
}

/// Copy is float where there is none.
template <class State, class Copy>
__global__ void __launch_bounds__(kGroupThreads)
    adamw_kernel(const AdamWTensor* tensors, const TensorChunk* chunks, Factors factors) {
  const TensorChunk chunk = chunks[blockIdx.x];
  const AdamWTensor tensor = tensors[chunk.tensor];
  const int64_t end = end_of(chunk, tensor.count);
  for (int64_t begin = chunk.begin + int64_t{threadIdx.x / kWarp} * kGroup; begin < end;
       begin += kGroupThreads / kWarp * kGroup) {
    const GroupPart p = update<State>(tensor, factors, begin);
    if constexpr (sizeof(Copy) == 2) store_any(global<Copy>(tensor.copy), begin, tensor.count, p);
  }
}

template <class State>
cudaError_t launch_with(const AdamW& op, const Queue& queue) {
  const Factors factors{op.factor, op.beta1, op.beta2, op.eps, op.step_size, op.root_scale};
  const auto launch = [&]<class Copy>(TypeName<Copy>) {
    return KENTE_LAUNCH((adamw_kernel<State, Copy>), dim3(static_cast<unsigned>(op.chunk_count)),
                        dim3(kGroupThreads), 0, queue.stream, op.tensors, op.chunks, factors);
  };
  switch (op.copy) {
    case WeightCopy::kNone:
      return launch(TypeName<float>());
    case WeightCopy::kF16:
      return launch(TypeName<__half>());
    case WeightCopy::kBF16:
      return launch(TypeName<__nv_bfloat16>());
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t adamw(const AdamW& op, const Queue& queue) {
  if (!aligned(op.tensors, op.chunks) || !valid_rows(op.chunk_count)) return cudaErrorInvalidValue;
  if (op.state == DataType::kF32) return launch_with<float>(op, queue);
  if (op.state == DataType::kBF16) return launch_with<__nv_bfloat16>(op, queue);
  return cudaErrorInvalidValue;
}

}  // namespace kente::cuda
