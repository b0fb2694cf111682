#include "benchmarks/kernel_cases.h"

#include <numeric>
#include <utility>

#include "cuda/activation.h"
#include "cuda/adamw.h"
#include "cuda/cast.h"
#include "cuda/column_sum.h"
#include "cuda/cross_entropy.h"
#include "cuda/embedding.h"
#include "cuda/fixed_point.h"
#include "cuda/norm.h"
#include "cuda/quantize.h"
#include "cuda/rope.h"

namespace kente::cuda {
namespace {

constexpr DataType kType = DataType::kBF16;
constexpr int64_t kBf16 = 2, kF32 = 4;

/// A launch of these arguments.
template <class Op>
std::function<cudaError_t()> launch_of(cudaError_t (*launch)(const Op&, const Queue&), Op op,
                                       const Queue& queue) {
  return [=] { return launch(op, queue); };
}

class Cases {
 public:
  explicit Cases(const KernelSizes& sizes)
      : m_(sizes.rows),
        d_(sizes.width),
        f_(sizes.ffn),
        v_(sizes.vocabulary),
        p_(sizes.parameters),
        loss_rows_(sizes.loss_rows) {}

  std::vector<KernelCase> all() {
    for (const Norm norm : {Norm::kRms, Norm::kLayer})
      for (const Residual residual : {Residual::kNone, Residual::kThere}) {
        add_norm(norm, residual);
        add_norm_backward(norm, residual);
      }
    add_activations();
    add_positions();
    add_embedding_backward();
    add_losses();
    add_optimizer();
    add_sums();
    add_wire();
    return std::move(cases_);
  }

 private:
  enum class Norm { kRms, kLayer };
  enum class Residual { kNone, kThere };

  template <class Prepare>
  void add(std::string op, std::string model, int64_t must, const Prepare& prepare,
           int generation = 0) {
    cases_.push_back({std::move(op), std::move(model), must, prepare, generation});
  }
  static std::string name(Norm norm) { return norm == Norm::kRms ? "RMS norm" : "layer norm"; }

  void add_norm(Norm norm, Residual residual) {
    const bool more = residual == Residual::kThere;
    const int64_t m = m_, d = d_, bytes = m * d * kBf16;
    add((more ? "add + " : "") + name(norm), more ? "8 M D" : "4 M D", (more ? 4 : 2) * bytes,
        [=](KernelMemory& in, const Queue& queue) {
          NormForward op{.dtype = kType,
                         .rows = m,
                         .width = d,
                         .eps = 1e-5f,
                         .x = in.bulk(bytes),
                         .w = in.small<float>(d * kF32),
                         .b = in.small<float>(d * kF32),
                         .y = in.bulk(bytes),
                         .stats = in.small<float>(2 * m * kF32)};
          if (more) op.residual = in.bulk(bytes);
          if (more) op.sum = in.bulk(bytes);
          return launch_of(norm == Norm::kRms ? rms_norm : layer_norm, op, queue);
        });
  }

  void add_norm_backward(Norm norm, Residual residual) {
    const bool more = residual == Residual::kThere;
    const int64_t m = m_, d = d_, bytes = m * d * kBf16;
    add(name(norm) + " backward" + (more ? " + residual's" : ""), more ? "8 M D" : "6 M D",
        (more ? 4 : 3) * bytes, [=](KernelMemory& in, const Queue& queue) {
          const int64_t workspace = norm_backward_workspace(m, d, queue.tuning);
          const NormBackward op{.dtype = kType,
                                .rows = m,
                                .width = d,
                                .x = in.bulk(bytes),
                                .stats = in.small<float>(2 * m * kF32),
                                .w = in.small<float>(d * kF32),
                                .dy = in.bulk(bytes),
                                .residual_grad = more ? in.bulk(bytes) : nullptr,
                                .dx = in.bulk(bytes),
                                .grad_w = in.small<float>(d * kF32),
                                .grad_b = in.small<float>(d * kF32),
                                .workspace = in.small<float>(workspace * kF32)};
          return launch_of(norm == Norm::kRms ? rms_norm_backward : layer_norm_backward, op, queue);
        });
  }

  void add_activations() {
    const int64_t m = m_, f = f_, bytes = m * f * kBf16;
    add("SwiGLU", "6 M F", 3 * bytes, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(swiglu, {kType, m, f, in.bulk(2 * bytes), in.bulk(bytes)}, queue);
    });
    add("SwiGLU backward", "10 M F", 5 * bytes, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(swiglu_backward,
                       {kType, m, f, in.bulk(2 * bytes), in.bulk(bytes), in.bulk(2 * bytes)},
                       queue);
    });
    add("GELU + bias", "4 M F", 2 * bytes, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(
          gelu, {kType, m, f, in.bulk(bytes), in.small<float>(f * kF32), in.bulk(bytes)}, queue);
    });
    add("GELU + bias backward", "6 M F", 3 * bytes, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(
          gelu_backward,
          {kType, m, f, in.bulk(bytes), in.small<float>(f * kF32), in.bulk(bytes), in.bulk(bytes)},
          queue);
    });
    add("bias gradient", "2 M F", bytes, [=](KernelMemory& in, const Queue& queue) {
      const int64_t workspace = column_sum_workspace(m, f, queue.tuning);
      return launch_of(column_sum,
                       {kType, m, f, in.bulk(bytes), in.small<float>(f * kF32),
                        in.small<float>(workspace * kF32)},
                       queue);
    });
  }

  void add_positions() {
    constexpr int64_t kHeads = 40, kHeadDim = 128;  // 32 of q and 8 of k
    const int64_t m = m_, d = d_, row = m * d * kBf16, bytes = m * kHeads * kHeadDim * kBf16;
    add("RoPE of q and k", "4 M (dq + dk)", 2 * bytes, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(rope,
                       {.dtype = kType,
                        .rows = m,
                        .heads = kHeads,
                        .head_dim = kHeadDim,
                        .stride = kHeads * kHeadDim,
                        .x = in.bulk(bytes),
                        .positions = in.small<int32_t>(m * 4),
                        .cos_sin = in.small<float>(kHeadDim * kF32)},
                       queue);
    });
    add("embedding", "4 M D", 2 * row, [=](KernelMemory& in, const Queue& queue) {
      std::vector<int32_t> ids(static_cast<size_t>(m));
      std::iota(ids.begin(), ids.end(), 0);
      return launch_of(embedding,
                       {.dtype = kType,
                        .rows = m,
                        .width = d,
                        .table = in.bulk(row),
                        .ids = in.array(ids),
                        .y = in.bulk(row)},
                       queue);
    });
  }

  void add_embedding_backward() {
    const int64_t m = m_, d = d_, row = m * d * kBf16, runs = m / 3;
    add("embedding backward", "2 M D + 8 D a distinct id", row + 8 * d * runs,
        [=](KernelMemory& in, const Queue& queue) {
          std::vector<int32_t> ids(static_cast<size_t>(m));
          for (size_t i = 0; i < ids.size(); ++i)
            ids[i] = static_cast<int32_t>(i) % static_cast<int32_t>(runs);
          const IdRuns order = runs_of(ids.data(), m);
          return launch_of(embedding_backward,
                           {.dtype = kType,
                            .runs = runs,
                            .width = d,
                            .dy = in.bulk(row),
                            .rows = in.array(order.rows),
                            .begins = in.array(order.begins),
                            .ids = in.array(order.ids),
                            .grad_table = in.bulk<float>(runs * d * kF32)},
                           queue);
        });
  }

  static LossRows loss_of(KernelMemory& in, int64_t rows) {
    return {.rows = rows,
            .targets = in.small<int32_t>(rows * 4),
            .mask = nullptr,
            .nats = in.small<float>(rows * kF32)};
  }

  void add_losses() {
    const int64_t rows = loss_rows_, v = v_, bytes = rows * v * kBf16;
    const auto whole = [=](KernelMemory& in, const Queue& queue) {
      return launch_of(cross_entropy,
                       {.dtype = kType,
                        .loss = loss_of(in, rows),
                        .vocabulary = v,
                        .stride = v,
                        .logits = in.bulk(bytes),
                        .grad_scale = 1},
                       queue);
    };
    add("cross-entropy, sm_90 and sm_100", "4 M V", 2 * bytes, whole, 90);
    add("cross-entropy, sm_86, sm_89 and sm_120", "4 M V", 2 * bytes, whole, 89);
    const auto chunk = [=](KernelMemory& in) {
      return VocabularyChunk{.dtype = kType,
                             .loss = loss_of(in, rows),
                             .first = 0,
                             .columns = v,
                             .stride = v,
                             .logits = in.bulk(bytes),
                             .running = in.small<float>(2 * rows * kF32),
                             .target_logits = in.small<float>(rows * kF32)};
    };
    add("cross-entropy of a chunk, sums", "2 M V", bytes,
        [=](KernelMemory& in, const Queue& queue) {
          return launch_of(cross_entropy_gather, chunk(in), queue);
        });
    add("cross-entropy of a chunk, gradient", "4 M V", 2 * bytes,
        [=](KernelMemory& in, const Queue& queue) {
          const VocabularyChunk op = chunk(in);
          return [=] { return cross_entropy_gradient(op, 1, queue); };
        });
  }

  void add_optimizer() {
    const int64_t p = p_;
    for (const DataType state : {DataType::kF32, kType}) {
      const bool wide = state == DataType::kF32;
      const int64_t bytes = p * size_of(state);
      add(wide ? "AdamW, m and v in f32, bf16 copy" : "AdamW, m and v in bf16, bf16 copy",
          wide ? "30 a parameter" : "22 a parameter", (wide ? 30 : 22) * p,
          [=](KernelMemory& in, const Queue& queue) {
            const AdamWTensor tensor{.grad = in.bulk<float>(p * kF32),
                                     .master = in.bulk<float>(p * kF32),
                                     .m = in.bulk(bytes),
                                     .v = in.bulk(bytes),
                                     .copy = in.bulk(p * kBf16),
                                     .count = p};
            const std::vector<TensorChunk> chunks = chunks_of({p});
            return launch_of(adamw,
                             {.state = state,
                              .copy = WeightCopy::kBF16,
                              .tensors = in.array<AdamWTensor>({tensor}),
                              .chunks = in.array(chunks),
                              .chunk_count = static_cast<int64_t>(chunks.size())},
                             queue);
          });
    }
  }

  void add_sums() {
    const int64_t p = p_;
    add("global norm and finite check", "4 a parameter", 4 * p,
        [=](KernelMemory& in, const Queue& queue) {
          const std::vector<TensorChunk> chunks = chunks_of({p});
          return launch_of(sum_squares,
                           {.tensors = in.array<SquaresTensor>({{in.bulk<float>(p * kF32), p}}),
                            .chunks = in.array(chunks),
                            .chunk_count = static_cast<int64_t>(chunks.size()),
                            .sum = in.small<FixedSquares>(sizeof(FixedSquares))},
                           queue);
        });
    add("fixed-point accumulation", "20 an element", 20 * p,
        [=](KernelMemory& in, const Queue& queue) {
          return launch_of(accumulate_fixed,
                           {.gradient = in.bulk<float>(p * kF32),
                            .accumulator = in.bulk<uint64_t>(p * 8),
                            .poison = in.small<unsigned long long>(16),
                            .count = p},
                           queue);
        });
    add("fixed point to f32", "12 an element", 12 * p, [=](KernelMemory& in, const Queue& queue) {
      const auto* sums = in.bulk<uint64_t>(p * 8);
      auto* values = in.bulk<float>(p * kF32);
      return [=] { return fixed_to_float(sums, values, p, queue); };
    });
  }

  void add_wire() {
    const int64_t p = p_;
    for (const WireType type : {WireType::kInt8, WireType::kInt4}) {
      const int64_t out = wire_bytes(type, p);
      const bool eight = type == WireType::kInt8;
      const std::string to = eight ? "int8" : "int4";
      add("quantise to " + to, eight ? "13 an element" : "12.5 an element", 12 * p + out,
          [=](KernelMemory& in, const Queue& queue) {
            return launch_of(quantize,
                             {type, in.bulk<float>(p * kF32), in.bulk<float>(p * kF32), p,
                              in.bulk<uint8_t>(out), in.small<float>(wire_blocks(p) * kF32)},
                             queue);
          });
      add("dequantise " + to, eight ? "5 an element" : "4.5 an element", 4 * p + out,
          [=](KernelMemory& in, const Queue& queue) {
            return launch_of(dequantize,
                             {type, in.bulk<uint8_t>(out), in.small<float>(wire_blocks(p) * kF32),
                              p, in.bulk<float>(p * kF32)},
                             queue);
          });
    }
    add("cast f32 to bf16", "6 an element", 6 * p, [=](KernelMemory& in, const Queue& queue) {
      return launch_of(cast_scale,
                       {DataType::kF32, kType, p, in.bulk(p * kF32), in.bulk(p * kBf16), 1}, queue);
    });
  }

  const int64_t m_, d_, f_, v_, p_, loss_rows_;
  std::vector<KernelCase> cases_;
};

}  // namespace

std::vector<KernelCase> kernel_cases(const KernelSizes& sizes) { return Cases(sizes).all(); }

}  // namespace kente::cuda
