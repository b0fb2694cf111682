#include "cuda/cross_entropy.cuh"

#include <algorithm>

namespace kente::cuda {
namespace {

constexpr int kThreads = 1024;
/// Accesses of a row that a thread keeps in registers; the rest of the row is in shared memory.
constexpr int kHeld = 4;

enum class Row { kOnChip, kTooWide };

template <class T>
struct LossTensors {
  Global<T> logits;
  Global<const int32_t> targets, mask;
  Global<float> nats;
};

/// The row as a block holds it: access number i belongs to thread i mod kThreads.
template <class T, Row kRow>
class HeldRow {
 public:
  __device__ __forceinline__ HeldRow(Global<T> logits, int64_t begin, int accesses,
                                     Vector<T, kWide<T>>* shared)
      : logits_(logits), begin_(begin), accesses_(accesses), shared_(shared) {}

  /// Calls use(first column, its logits) for every access of this thread. Loads them.
  template <class Use>
  __device__ __forceinline__ void load(const Use& use) {
    KENTE_UNROLL
    for (int h = 0; h < kHeld; ++h) {
      const int i = h * kThreads + static_cast<int>(threadIdx.x);
      if (i >= accesses_) return;
      held_[h] = logits_.template load<16>(begin_ + int64_t{i} * kWide<T>);
      use(i * kWide<T>, held_[h]);
    }
    for (int i = kHeld * kThreads + static_cast<int>(threadIdx.x); i < accesses_; i += kThreads) {
      const auto logits = logits_.template load<16>(begin_ + int64_t{i} * kWide<T>);
      if (kRow == Row::kOnChip) shared_[i - kHeld * kThreads] = logits;
      use(i * kWide<T>, logits);
    }
  }

  /// Stores what make(first column, its logits) returns for every access of this thread.
  template <class Make>
  __device__ __forceinline__ void replace(const Make& make) {
    KENTE_UNROLL
    for (int h = 0; h < kHeld; ++h) {
      const int i = h * kThreads + static_cast<int>(threadIdx.x);
      if (i >= accesses_) return;
      logits_.template store<16>(begin_ + int64_t{i} * kWide<T>, make(i * kWide<T>, held_[h]));
    }
    for (int i = kHeld * kThreads + static_cast<int>(threadIdx.x); i < accesses_; i += kThreads) {
      const auto logits = kRow == Row::kOnChip
                              ? shared_[i - kHeld * kThreads]
                              : logits_.template load<16>(begin_ + int64_t{i} * kWide<T>);
      logits_.template store<16>(begin_ + int64_t{i} * kWide<T>, make(i * kWide<T>, logits));
    }
  }

 private:
  Global<T> logits_;
  int64_t begin_;
  int accesses_;
  Vector<T, kWide<T>>* shared_;  // each access only of the thread that it belongs to
  Vector<T, kWide<T>> held_[kHeld];
};

template <class T, Row kRow>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(LossTensors<T> t, int vocabulary, int stride, LogitsBecome become,
                         float grad_scale) {
  const int64_t row = blockIdx.x;
  const bool counts = t.mask.empty() || t.mask.load_one(row) != 0;
  const int target = t.targets.load_one(row);
  const int accesses = stride / kWide<T>;
  using Wide = Vector<T, kWide<T>>;
  KENTE_DYNAMIC_SHARED(Wide, shared);
  KENTE_SHARED(float, target_logit, 1);
  HeldRow<T, kRow> held(t.logits, row * stride, accesses, shared);
  RunningSum mine;
  held.load([&](int column, const Vector<T, kWide<T>>& logits) {
    KENTE_UNROLL
    for (int j = 0; j < kWide<T>; ++j) {
      if (column + j >= vocabulary) continue;
      const float logit = to_float(logits[j]);
      mine.add(logit);
      if (column + j == target) target_logit[0] = logit;
    }
  });
  const RunningSum total = block_total(mine);  // with barriers, so the target's logit is there
  if (threadIdx.x == 0)
    t.nats.store_one(row, counts ? logf(total.sum) + total.maximum - target_logit[0] : 0.0f);
  if (become == LogitsBecome::kNothing) return;
  const GradientOf gradient{total, counts ? grad_scale : 0.0f, target, vocabulary};
  held.replace([&](int column, const Vector<T, kWide<T>>& logits) {
    Vector<T, kWide<T>> result;
    KENTE_UNROLL
    for (int j = 0; j < kWide<T>; ++j)
      result[j] = from_float<T>(gradient.at(column + j, to_float(logits[j])));
    return result;
  });
}

/// Bytes of a row that registers do not hold.
int64_t shared_bytes(DataType dtype, int64_t stride) {
  return std::max<int64_t>(0, stride * size_of(dtype) - int64_t{kHeld} * kThreads * 16);
}

}  // namespace

bool fits_on_chip(DataType dtype, int64_t stride, const Tuning& tuning) {
  constexpr int64_t kOfReductions = 1024;  // static shared memory beside it
  return shared_bytes(dtype, stride) + kOfReductions <= tuning.shared_bytes;
}

cudaError_t cross_entropy(const CrossEntropy& op, const Queue& queue) {
  if (!valid(op.loss, op.vocabulary, op.stride, op.dtype) || !aligned(op.logits))
    return cudaErrorInvalidValue;
  return with_type(op.dtype, [&]<class T>(TypeName<T>) {
    const LossTensors<T> tensors{global<T>(op.logits), Global(op.loss.targets),
                                 Global(op.loss.mask), Global(op.loss.nats)};
    const dim3 grid(static_cast<unsigned>(op.loss.rows));
    const int vocabulary = static_cast<int>(op.vocabulary), stride = static_cast<int>(op.stride);
    if (!fits_on_chip(op.dtype, op.stride, queue.tuning))
      return KENTE_LAUNCH((cross_entropy_kernel<T, Row::kTooWide>), grid, dim3(kThreads), 0,
                          queue.stream, tensors, vocabulary, stride, op.become, op.grad_scale);
    const auto bytes = static_cast<size_t>(shared_bytes(op.dtype, op.stride));
    return KENTE_LAUNCH((cross_entropy_kernel<T, Row::kOnChip>), grid, dim3(kThreads), bytes,
                        queue.stream, tensors, vocabulary, stride, op.become, op.grad_scale);
  });
}

}  // namespace kente::cuda
