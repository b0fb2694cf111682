// kernel_traffic: runs every kernel of cuda/ on the CPU at a real width in bf16 and prints what it
// moved beside what it must: K1 and K3 of the kernels' figures, as a table. Weights of a norm, its
// statistics, positions and partial sums are not counted: they are small where rows are many.

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/activation.h"
#include "cuda/adamw.h"
#include "cuda/cast.h"
#include "cuda/column_sum.h"
#include "cuda/cross_entropy.h"
#include "cuda/embedding.h"
#include "cuda/fixed_point.h"
#include "cuda/host/gpu.h"
#include "cuda/norm.h"
#include "cuda/quantize.h"
#include "cuda/rope.h"

namespace kente::cuda {
namespace {

constexpr int64_t kM = 24, kD = 4096, kF = 11008, kV = 128256, kP = int64_t{1} << 16;
constexpr DataType kType = DataType::kBF16;
constexpr int64_t kBf16 = 2, kF32 = 4;

/// One run of one kernel, on a GPU of its own.
class Run {
 public:
  explicit Run(const Tuning& tuning) { queue_.tuning = tuning; }

  /// A tensor whose bytes are counted, zeros at first.
  template <class T = void>
  T* bulk(int64_t bytes) {
    bulk_.push_back("bulk " + std::to_string(bulk_.size()));
    return zeros<T>(bulk_.back(), bytes);
  }
  template <class T = void>
  T* small(int64_t bytes) {
    return zeros<T>("small", bytes);
  }
  template <class T>
  T* array(const std::vector<T>& values) {
    T* const data = small<T>(static_cast<int64_t>(values.size() * sizeof(T)));
    std::memcpy(data, values.data(), values.size() * sizeof(T));
    return data;
  }
  const Queue& queue() const { return queue_; }
  host::Traffic moved() {
    host::Traffic sum;
    for (const std::string& name : bulk_)
      for (const host::Traffic& traffic :
           {gpu_.memory().buffer(name).loads, gpu_.memory().buffer(name).stores}) {
        sum.bytes += traffic.bytes;
        sum.wide_bytes += traffic.wide_bytes;
        sum.sectors += traffic.sectors;
        sum.least_sectors += traffic.least_sectors;
      }
    return sum;
  }

 private:
  template <class T>
  T* zeros(const std::string& name, int64_t bytes) {
    std::byte* data = gpu_.memory().allocate(name, bytes);
    std::memset(data, 0, static_cast<size_t>(bytes));
    return reinterpret_cast<T*>(data);
  }

  host::Gpu gpu_;
  Queue queue_;
  std::vector<std::string> bulk_;
};

struct Case {
  std::string op;
  std::string model;  // of the bytes that must move
  int64_t must = 0;
  std::function<cudaError_t(Run&)> run;
  Tuning tuning = {};
};

enum class Residual { kNone, kThere };

NormForward forward(Run& run, Residual residual) {
  const int64_t bytes = kM * kD * kBf16;
  NormForward norm{.dtype = kType,
                   .rows = kM,
                   .width = kD,
                   .eps = 1e-5f,
                   .x = run.bulk(bytes),
                   .w = run.small<float>(kD * kF32),
                   .b = run.small<float>(kD * kF32),
                   .y = run.bulk(bytes),
                   .stats = run.small<float>(2 * kM * kF32)};
  if (residual == Residual::kThere) {
    norm.residual = run.bulk(bytes);
    norm.sum = run.bulk(bytes);
  }
  return norm;
}

NormBackward backward(Run& run, Residual residual) {
  const int64_t bytes = kM * kD * kBf16;
  const int64_t workspace = norm_backward_workspace(kM, kD, run.queue().tuning);
  return {.dtype = kType,
          .rows = kM,
          .width = kD,
          .x = run.bulk(bytes),
          .stats = run.small<float>(2 * kM * kF32),
          .w = run.small<float>(kD * kF32),
          .dy = run.bulk(bytes),
          .residual_grad = residual == Residual::kThere ? run.bulk(bytes) : nullptr,
          .dx = run.bulk(bytes),
          .grad_w = run.small<float>(kD * kF32),
          .grad_b = run.small<float>(kD * kF32),
          .workspace = run.small<float>(workspace * kF32)};
}

void add_norms(std::vector<Case>& cases) {
  for (const bool rms : {true, false}) {
    const std::string name = rms ? "RMS norm" : "layer norm";
    const auto run_forward = rms ? rms_norm : layer_norm;
    const auto run_backward = rms ? rms_norm_backward : layer_norm_backward;
    for (const Residual residual : {Residual::kNone, Residual::kThere}) {
      const bool more = residual == Residual::kThere;
      cases.push_back({(more ? "add + " : "") + name, more ? "8 M D" : "4 M D",
                       (more ? 8 : 4) * kM * kD,
                       [=](Run& run) { return run_forward(forward(run, residual), run.queue()); }});
      cases.push_back({name + " backward" + (more ? " + residual's" : ""), more ? "8 M D" : "6 M D",
                       (more ? 8 : 6) * kM * kD, [=](Run& run) {
                         return run_backward(backward(run, residual), run.queue());
                       }});
    }
  }
}

void add_activations(std::vector<Case>& cases) {
  const int64_t bytes = kM * kF * kBf16;
  cases.push_back(
      {"SwiGLU", "6 M F", 3 * bytes, [=](Run& run) {
         return swiglu({kType, kM, kF, run.bulk(2 * bytes), run.bulk(bytes)}, run.queue());
       }});
  cases.push_back({"SwiGLU backward", "10 M F", 5 * bytes, [=](Run& run) {
                     return swiglu_backward(
                         {kType, kM, kF, run.bulk(2 * bytes), run.bulk(bytes), run.bulk(2 * bytes)},
                         run.queue());
                   }});
  cases.push_back(
      {"GELU + bias", "4 M F", 2 * bytes, [=](Run& run) {
         return gelu({kType, kM, kF, run.bulk(bytes), run.small<float>(kF * kF32), run.bulk(bytes)},
                     run.queue());
       }});
  cases.push_back({"GELU + bias backward", "6 M F", 3 * bytes, [=](Run& run) {
                     return gelu_backward(
                         {kType, kM, kF, run.bulk(bytes), run.small<float>(kF * kF32),
                          run.bulk(bytes), run.bulk(bytes)},
                         run.queue());
                   }});
  cases.push_back({"bias gradient", "2 M F", bytes, [=](Run& run) {
                     const int64_t workspace = column_sum_workspace(kM, kF, run.queue().tuning);
                     return column_sum({kType, kM, kF, run.bulk(bytes), run.small<float>(kF * kF32),
                                        run.small<float>(workspace * kF32)},
                                       run.queue());
                   }});
}

void add_positions(std::vector<Case>& cases) {
  constexpr int64_t kHeads = 40, kHeadDim = 128;  // 32 of q and 8 of k
  const int64_t bytes = kM * kHeads * kHeadDim * kBf16;
  cases.push_back({"RoPE of q and k", "4 M (dq + dk)", 2 * bytes, [=](Run& run) {
                     return rope({.dtype = kType,
                                  .rows = kM,
                                  .heads = kHeads,
                                  .head_dim = kHeadDim,
                                  .stride = kHeads * kHeadDim,
                                  .x = run.bulk(bytes),
                                  .positions = run.small<int32_t>(kM * 4),
                                  .cos_sin = run.small<float>(kHeadDim * kF32)},
                                 run.queue());
                   }});
  const int64_t row = kM * kD * kBf16;
  cases.push_back({"embedding", "4 M D", 2 * row, [=](Run& run) {
                     std::vector<int32_t> ids(kM);
                     std::iota(ids.begin(), ids.end(), 0);
                     return embedding({.dtype = kType,
                                       .rows = kM,
                                       .width = kD,
                                       .table = run.bulk(row),
                                       .ids = run.array(ids),
                                       .y = run.bulk(row)},
                                      run.queue());
                   }});
  cases.push_back(
      {"embedding backward", "2 M D + 8 D a distinct id", row + 8 * kD * (kM / 3), [=](Run& run) {
         std::vector<int32_t> ids(kM);
         for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i / 3);
         const IdRuns runs = runs_of(ids.data(), kM);
         return embedding_backward({.dtype = kType,
                                    .runs = kM / 3,
                                    .width = kD,
                                    .dy = run.bulk(row),
                                    .rows = run.array(runs.rows),
                                    .begins = run.array(runs.begins),
                                    .ids = run.array(runs.ids),
                                    .grad_table = run.bulk<float>(kM / 3 * kD * kF32)},
                                   run.queue());
       }});
}

LossRows loss_of(Run& run, int64_t rows) {
  return {.rows = rows,
          .targets = run.small<int32_t>(rows * 4),
          .mask = nullptr,
          .nats = run.small<float>(rows * kF32)};
}

void add_losses(std::vector<Case>& cases) {
  constexpr int64_t kRows = 2, kBytes = kRows * kV * kBf16;
  const auto whole = [=](Run& run) {
    return cross_entropy({.dtype = kType,
                          .loss = loss_of(run, kRows),
                          .vocabulary = kV,
                          .stride = kV,
                          .logits = run.bulk(kBytes),
                          .grad_scale = 1},
                         run.queue());
  };
  cases.push_back({"cross-entropy, sm_90 and sm_100", "4 M V", 2 * kBytes, whole});
  Tuning less = tuning_of(89);
  cases.push_back({"cross-entropy, less shared memory", "4 M V", 2 * kBytes, whole, less});
  const auto chunk = [=](Run& run) {
    return VocabularyChunk{.dtype = kType,
                           .loss = loss_of(run, kRows),
                           .first = 0,
                           .columns = kV,
                           .stride = kV,
                           .logits = run.bulk(kBytes),
                           .running = run.small<float>(2 * kRows * kF32),
                           .target_logits = run.small<float>(kRows * kF32)};
  };
  cases.push_back({"cross-entropy of a chunk, sums", "2 M V", kBytes,
                   [=](Run& run) { return cross_entropy_gather(chunk(run), run.queue()); }});
  cases.push_back({"cross-entropy of a chunk, gradient", "4 M V", 2 * kBytes,
                   [=](Run& run) { return cross_entropy_gradient(chunk(run), 1, run.queue()); }});
}

void add_optimizer(std::vector<Case>& cases) {
  const std::vector<TensorChunk> chunks = chunks_of({kP});
  const auto count = static_cast<int64_t>(chunks.size());
  cases.push_back({"AdamW, m and v in f32, bf16 copy", "30 a parameter", 30 * kP, [=](Run& run) {
                     const AdamWTensor tensor{.grad = run.bulk<float>(kP * kF32),
                                              .master = run.bulk<float>(kP * kF32),
                                              .m = run.bulk(kP * kF32),
                                              .v = run.bulk(kP * kF32),
                                              .copy = run.bulk(kP * kBf16),
                                              .count = kP};
                     return adamw({.copy = WeightCopy::kBF16,
                                   .tensors = run.array<AdamWTensor>({tensor}),
                                   .chunks = run.array(chunks),
                                   .chunk_count = count},
                                  run.queue());
                   }});
  cases.push_back({"AdamW, m and v in bf16, bf16 copy", "22 a parameter", 22 * kP, [=](Run& run) {
                     const AdamWTensor tensor{.grad = run.bulk<float>(kP * kF32),
                                              .master = run.bulk<float>(kP * kF32),
                                              .m = run.bulk(kP * kBf16),
                                              .v = run.bulk(kP * kBf16),
                                              .copy = run.bulk(kP * kBf16),
                                              .count = kP};
                     return adamw({.state = kType,
                                   .copy = WeightCopy::kBF16,
                                   .tensors = run.array<AdamWTensor>({tensor}),
                                   .chunks = run.array(chunks),
                                   .chunk_count = count},
                                  run.queue());
                   }});
  cases.push_back({"global norm and finite check", "4 a parameter", 4 * kP, [=](Run& run) {
                     const SquaresTensor tensor{run.bulk<float>(kP * kF32), kP};
                     return sum_squares({.tensors = run.array<SquaresTensor>({tensor}),
                                         .chunks = run.array(chunks),
                                         .chunk_count = count,
                                         .sum = run.small<FixedSquares>(sizeof(FixedSquares))},
                                        run.queue());
                   }});
  cases.push_back({"fixed-point accumulation", "20 an element", 20 * kP, [=](Run& run) {
                     return accumulate_fixed({.gradient = run.bulk<float>(kP * kF32),
                                              .accumulator = run.bulk<uint64_t>(kP * 8),
                                              .poison = run.small<unsigned long long>(16),
                                              .count = kP},
                                             run.queue());
                   }});
  cases.push_back({"fixed point to f32", "12 an element", 12 * kP, [=](Run& run) {
                     return fixed_to_float(run.bulk<uint64_t>(kP * 8), run.bulk<float>(kP * kF32),
                                           kP, run.queue());
                   }});
}

void add_wire(std::vector<Case>& cases) {
  for (const WireType type : {WireType::kInt8, WireType::kInt4}) {
    const int64_t out = wire_bytes(type, kP);
    const bool eight = type == WireType::kInt8;
    const std::string name = eight ? "int8" : "int4";
    cases.push_back({"quantise to " + name, eight ? "13 an element" : "12.5 an element",
                     12 * kP + out, [=](Run& run) {
                       return quantize(
                           {type, run.bulk<float>(kP * kF32), run.bulk<float>(kP * kF32), kP,
                            run.bulk<uint8_t>(out), run.small<float>(wire_blocks(kP) * kF32)},
                           run.queue());
                     }});
    cases.push_back({"dequantise " + name, eight ? "5 an element" : "4.5 an element", 4 * kP + out,
                     [=](Run& run) {
                       return dequantize(
                           {type, run.bulk<uint8_t>(out), run.small<float>(wire_blocks(kP) * kF32),
                            kP, run.bulk<float>(kP * kF32)},
                           run.queue());
                     }});
  }
  cases.push_back({"cast f32 to bf16", "6 an element", 6 * kP, [](Run& run) {
                     return cast_scale(
                         {DataType::kF32, kType, kP, run.bulk(kP * kF32), run.bulk(kP * kBf16), 1},
                         run.queue());
                   }});
}

int print_table() {
  std::vector<Case> cases;
  add_norms(cases);
  add_activations(cases);
  add_positions(cases);
  add_losses(cases);
  add_optimizer(cases);
  add_wire(cases);
  fmt::print("| kernel | bytes that must move | moved / must | by 16 bytes | whole sectors |\n");
  fmt::print("|---|---|---|---|---|\n");
  for (const Case& c : cases) {
    Run run(c.tuning);
    const cudaError_t error = c.run(run);
    if (error != cudaSuccess) {
      fmt::print(stderr, "{}: error {}\n", c.op, static_cast<int>(error));
      return 1;
    }
    const host::Traffic moved = run.moved();
    const auto of = [](int64_t part, int64_t whole) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    fmt::print("| {} | {} | {:.3f} | {:.0f} % | {:.0f} % |\n", c.op, c.model,
               of(moved.bytes, c.must), 100 * of(moved.wide_bytes, moved.bytes),
               100 * of(moved.least_sectors, moved.sectors));
  }
  return 0;
}

}  // namespace
}  // namespace kente::cuda

int main() { return kente::cuda::print_table(); }
