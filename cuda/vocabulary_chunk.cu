#include "cuda/cross_entropy.cuh"
#include "cuda/matrix.cuh"

namespace kente::cuda {
namespace {

constexpr int kThreads = 512;

template <class T>
struct ChunkTensors {
  Global<T> logits;
  Global<const int32_t> targets, mask;
  Global<float> running, target_logits;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(ChunkTensors<T> t, int64_t first, int columns, int stride) {
  const int64_t row = blockIdx.x;
  const int64_t target = t.targets.load_one(row) - first;
  RunningSum mine;
  for (int column = static_cast<int>(threadIdx.x) * kWide<T>; column < stride;
       column += kThreads * kWide<T>) {
    const auto logits = to_floats(t.logits.template load<16>(row * stride + column));
    KENTE_UNROLL
    for (int j = 0; j < kWide<T>; ++j) {
      if (column + j >= columns) continue;
      mine.add(logits[j]);
      if (column + j == target) t.target_logits.store_one(row, logits[j]);
    }
  }
  RunningSum total = block_total(mine);
  if (threadIdx.x != 0) return;
  if (first > 0) {
    const Vector<float, 2> before = t.running.template load<8>(2 * row);
    const RunningSum earlier{before[0], before[1]};
    const float maximum = fmaxf(earlier.maximum, total.maximum);
    total.sum = earlier.with(maximum) + total.with(maximum);
    total.maximum = maximum;
  }
  t.running.template store<8>(2 * row, {total.maximum, total.sum});
}

__global__ void __launch_bounds__(kMatrixThreads)
    nats_kernel(Global<const float> running, Global<const float> target_logits,
                Global<const int32_t> mask, Global<float> nats, int64_t rows) {
  const int64_t row = int64_t{blockIdx.x} * kMatrixThreads + threadIdx.x;
  if (row >= rows) return;
  const bool counts = mask.empty() || mask.load_one(row) != 0;
  const Vector<float, 2> total = running.load<8>(2 * row);
  nats.store_one(row, counts ? logf(total[1]) + total[0] - target_logits.load_one(row) : 0.0f);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(ChunkTensors<T> t, int64_t first, int columns, int stride, float grad_scale) {
  const int64_t row = blockIdx.x;
  const bool counts = t.mask.empty() || t.mask.load_one(row) != 0;
  const Vector<float, 2> total = t.running.template load<8>(2 * row);
  const GradientOf gradient{
      {total[0], total[1]}, counts ? grad_scale : 0.0f, t.targets.load_one(row) - first, columns};
  for (int column = static_cast<int>(threadIdx.x) * kWide<T>; column < stride;
       column += kThreads * kWide<T>) {
    auto logits = to_floats(t.logits.template load<16>(row * stride + column));
    KENTE_UNROLL
    for (int j = 0; j < kWide<T>; ++j) logits[j] = gradient.at(column + j, logits[j]);
    t.logits.template store<16>(row * stride + column, rounded<T>(logits));
  }
}

bool valid(const VocabularyChunk& chunk) {
  return valid(chunk.loss, chunk.columns, chunk.stride, chunk.dtype) && chunk.first >= 0 &&
         chunk.first <= kMostRows - chunk.columns && aligned(chunk.running, chunk.target_logits);
}

template <class T>
ChunkTensors<T> tensors_of(const VocabularyChunk& chunk) {
  return {global<T>(chunk.logits), Global(chunk.loss.targets), Global(chunk.loss.mask),
          Global(chunk.running), Global(chunk.target_logits)};
}

}  // namespace

cudaError_t cross_entropy_gather(const VocabularyChunk& chunk, const Queue& queue) {
  if (!valid(chunk) || !aligned(chunk.logits)) return cudaErrorInvalidValue;
  return with_type(chunk.dtype, [&]<class T>(TypeName<T>) {
    return KENTE_LAUNCH(gather_kernel<T>, dim3(static_cast<unsigned>(chunk.loss.rows)),
                        dim3(kThreads), 0, queue.stream, tensors_of<T>(chunk), chunk.first,
                        static_cast<int>(chunk.columns), static_cast<int>(chunk.stride));
  });
}

cudaError_t cross_entropy_nats(const VocabularyChunk& chunk, const Queue& queue) {
  if (!valid(chunk)) return cudaErrorInvalidValue;
  const auto blocks = static_cast<unsigned>(ceil_div(chunk.loss.rows, kMatrixThreads));
  return KENTE_LAUNCH(nats_kernel, dim3(blocks), dim3(kMatrixThreads), 0, queue.stream,
                      global<const float>(chunk.running), global<const float>(chunk.target_logits),
                      Global(chunk.loss.mask), Global(chunk.loss.nats), chunk.loss.rows);
}

cudaError_t cross_entropy_gradient(const VocabularyChunk& chunk, float grad_scale,
                                   const Queue& queue) {
  if (!valid(chunk) || !aligned(chunk.logits)) return cudaErrorInvalidValue;
  return with_type(chunk.dtype, [&]<class T>(TypeName<T>) {
    return KENTE_LAUNCH(gradient_kernel<T>, dim3(static_cast<unsigned>(chunk.loss.rows)),
                        dim3(kThreads), 0, queue.stream, tensors_of<T>(chunk), chunk.first,
                        static_cast<int>(chunk.columns), static_cast<int>(chunk.stride),
                        grad_scale);
  });
}

}  // namespace kente::cuda
