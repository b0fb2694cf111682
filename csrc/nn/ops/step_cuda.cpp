#include <cuda_runtime_api.h>

#include <map>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "cuda/adamw.h"
#include "cuda/fixed_point.h"

namespace kente {
namespace {

/// What is counted on the device: FixedSquares, then the poison of gradients.
struct Counters {
  cuda::FixedSquares squares;
  unsigned long long poison = 0;
};

template <typename T>
const T* on_device(const at::Tensor& bytes) {
  return static_cast<const T*>(bytes.const_data_ptr());
}

cuda::WeightCopy copy_of(const std::vector<AdamWPiece>& pieces, at::ScalarType type) {
  for (const AdamWPiece& piece : pieces)
    if (piece.copy == nullptr) return cuda::WeightCopy::kNone;
  return type == at::kHalf ? cuda::WeightCopy::kF16 : cuda::WeightCopy::kBF16;
}

}  // namespace

class GpuOps::Sums : public FixedSums {
 public:
  explicit Sums(GpuOps& ops)
      : ops_(ops), counters_(ops.empty({static_cast<int64_t>(sizeof(Counters))}, at::kByte)) {
    begin_step();
  }

  void begin_step() override { ops_.clear(counters_); }

  void accumulate(const at::Tensor& gradient, const at::Tensor& accumulator,
                  int64_t terms) override {
    if (gradient.numel() == 0) return;
    check_launch(
        cuda::accumulate_fixed(
            {.gradient = gradient.const_data_ptr<float>(),
             .accumulator = reinterpret_cast<uint64_t*>(accumulator.mutable_data_ptr<int64_t>()),
             .poison = &counters()->poison,
             .count = gradient.numel(),
             .terms = terms},
            ops_.queue()),
        "accumulate_fixed");
  }

  void add_squares(const at::Tensor& gradient) override {
    const Pieces& pieces = pieces_of(gradient);
    check_launch(cuda::sum_squares({.tensors = on_device<cuda::SquaresTensor>(pieces.tensor),
                                    .chunks = on_device<cuda::TensorChunk>(pieces.chunks),
                                    .chunk_count = pieces.count,
                                    .sum = &counters()->squares},
                                   ops_.queue()),
                 "sum_squares");
  }

  FixedNorm take() override {
    const at::Tensor host = ops_.to_host(counters_);
    const auto* found = on_device<Counters>(host);
    return {.whole = static_cast<int64_t>(found->squares.whole),
            .high = static_cast<int64_t>(found->squares.high),
            .low = static_cast<int64_t>(found->squares.low),
            .poison = static_cast<int64_t>(found->squares.poison + found->poison)};
  }

 private:
  /// A tensor's entry and its chunks on the device; gradients stay where they are for a whole run.
  struct Pieces {
    at::Tensor tensor, chunks;
    int64_t count = 0;
  };

  const Pieces& pieces_of(const at::Tensor& gradient) {
    const auto* data = gradient.const_data_ptr<float>();
    const auto [entry, is_new] = pieces_.try_emplace({data, gradient.numel()});
    if (!is_new) return entry->second;
    const cuda::SquaresTensor tensor{.values = data, .count = gradient.numel()};
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of({gradient.numel()});
    entry->second = {.tensor = ops_.bytes(&tensor, sizeof(tensor)),
                     .chunks = ops_.bytes(chunks.data(), chunks.size() * sizeof(chunks[0])),
                     .count = static_cast<int64_t>(chunks.size())};
    return entry->second;
  }
  Counters* counters() const { return static_cast<Counters*>(counters_.mutable_data_ptr()); }

  GpuOps& ops_;
  const at::Tensor counters_;
  std::map<std::pair<const float*, int64_t>, Pieces> pieces_;
};

std::unique_ptr<FixedSums> GpuOps::fixed_sums() { return std::make_unique<Sums>(*this); }

bool GpuOps::all_finite(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return true;
  Sums sums(*this);
  sums.add_squares(tensor);
  return sums.take().poison == 0;
}

void GpuOps::fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) {
  if (gradient.numel() == 0) return;
  check_launch(
      cuda::fixed_to_float(reinterpret_cast<const uint64_t*>(accumulator.const_data_ptr<int64_t>()),
                           gradient.mutable_data_ptr<float>(), gradient.numel(), queue()),
      "fixed_to_float");
}

bool GpuOps::adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
                   at::ScalarType copy) {
  for (const std::shared_ptr<Event>& fetched : fetches_) stream_.wait_for(*fetched);
  fetches_.clear();
  if (pieces.empty()) return false;
  std::vector<cuda::AdamWTensor> tensors;
  std::vector<int64_t> counts;
  const cuda::WeightCopy written = copy_of(pieces, copy);
  for (const AdamWPiece& piece : pieces) {
    tensors.push_back({.grad = piece.gradient,
                       .master = piece.master,
                       .m = piece.exp_avg,
                       .v = piece.exp_avg_sq,
                       .copy = piece.copy,
                       .count = piece.count,
                       .decay = static_cast<float>(piece.decay)});
    counts.push_back(piece.count);
  }
  const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(counts);
  const at::Tensor tensors_there = bytes(tensors.data(), tensors.size() * sizeof(tensors[0]));
  const at::Tensor chunks_there = bytes(chunks.data(), chunks.size() * sizeof(chunks[0]));
  check_launch(cuda::adamw({.copy = written,
                            .tensors = on_device<cuda::AdamWTensor>(tensors_there),
                            .chunks = on_device<cuda::TensorChunk>(chunks_there),
                            .chunk_count = static_cast<int64_t>(chunks.size()),
                            .factor = factors.gradient,
                            .beta1 = factors.beta1,
                            .beta2 = factors.beta2,
                            .eps = factors.epsilon,
                            .step_size = factors.step_size,
                            .root_scale = factors.root_scale},
                           queue()),
               "adamw");
  return written != cuda::WeightCopy::kNone;
}

}  // namespace kente
