#include <functional>

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
#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

/// One launch's arguments, and how to spoil each: every spoilt one must be refused with nothing
/// launched, and the good one must not be.
class RefusedLaunch : public KernelCase {
 protected:
  static constexpr int64_t kRows = 2, kWidth = 64, kTooMany = int64_t{1} << 31;

  template <class Op>
  using Spoil = std::vector<std::pair<const char*, std::function<void(Op&)>>>;

  template <class Op>
  void expect_refused(const Op& good, cudaError_t (*launch)(const Op&, const Queue&),
                      const Spoil<Op>& spoils) {
    for (const auto& [what, spoil] : spoils) {
      Op op = good;
      spoil(op);
      EXPECT_EQ(launch(op, queue_), cudaErrorInvalidValue) << what;
    }
    EXPECT_EQ(gpu_.launches(), 0);
    EXPECT_EQ(launch(good, queue_), cudaSuccess);
    EXPECT_GT(gpu_.launches(), 0);
  }
  /// Room for anything here, zeros.
  template <class T = void>
  T* room() {
    std::byte* data = gpu_.memory().allocate("room", 1 << 16);
    std::memset(data, 0, 1 << 16);
    return reinterpret_cast<T*>(data);
  }
  /// The same address, not aligned to an access.
  template <class T>
  static T* off(T* pointer) {
    using Bytes = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
    return reinterpret_cast<T*>(reinterpret_cast<Bytes*>(pointer) + 8);
  }
};

TEST_F(RefusedLaunch, OfANorm) {
  const NormForward good{.rows = kRows,
                         .width = kWidth,
                         .eps = 1e-5f,
                         .x = room(),
                         .w = room<float>(),
                         .b = room<float>(),
                         .y = room(),
                         .stats = room<float>()};
  expect_refused<NormForward>(
      good, layer_norm,
      {{"no x", [](auto& op) { op.x = nullptr; }},
       {"no b", [](auto& op) { op.b = nullptr; }},
       {"misaligned y", [](auto& op) { op.y = off(static_cast<char*>(op.y)); }},
       {"no rows", [](auto& op) { op.rows = 0; }},
       {"2^31 rows", [](auto& op) { op.rows = kTooMany; }},
       {"a width of 12", [](auto& op) { op.width = 12; }},
       {"too wide", [](auto& op) { op.width = kMostNormWidth + 8; }},
       {"a residual without a sum", [](auto& op) { op.residual = op.x; }},
       {"no such dtype", [](auto& op) { op.dtype = static_cast<DataType>(7); }}});
}

TEST_F(RefusedLaunch, OfANormsBackward) {
  const NormBackward good{.rows = kRows,
                          .width = kWidth,
                          .x = room(),
                          .stats = room<float>(),
                          .w = room<float>(),
                          .dy = room(),
                          .dx = room(),
                          .grad_w = room<float>(),
                          .workspace = room<float>()};
  expect_refused<NormBackward>(
      good, rms_norm_backward,
      {{"no workspace", [](auto& op) { op.workspace = nullptr; }},
       {"no gradient", [](auto& op) { op.grad_w = nullptr; }},
       {"misaligned dy", [](auto& op) { op.dy = off(static_cast<const char*>(op.dy)); }},
       {"negative rows", [](auto& op) { op.rows = -1; }},
       {"no width", [](auto& op) { op.width = 0; }}});
}

TEST_F(RefusedLaunch, OfAnActivation) {
  const Swiglu good{.rows = kRows, .width = kWidth, .gate_up = room(), .y = room()};
  expect_refused<Swiglu>(good, swiglu,
                         {{"no y", [](auto& op) { op.y = nullptr; }},
                          {"no rows", [](auto& op) { op.rows = 0; }},
                          {"a width of 4", [](auto& op) { op.width = 4; }},
                          {"too many elements", [](auto& op) { op.rows = int64_t{1} << 30; }}});
}

TEST_F(RefusedLaunch, OfRope) {
  const Rope good{.rows = kRows,
                  .heads = 1,
                  .head_dim = kWidth,
                  .stride = kWidth,
                  .x = room(),
                  .positions = room<int32_t>(),
                  .cos_sin = room<float>()};
  expect_refused<Rope>(good, rope,
                       {{"an odd half", [](auto& op) { op.head_dim = 8; }},
                        {"heads beyond the row", [](auto& op) { op.heads = 2; }},
                        {"no table", [](auto& op) { op.cos_sin = nullptr; }},
                        {"2^31 rows", [](auto& op) { op.rows = kTooMany; }}});
}

TEST_F(RefusedLaunch, OfAnEmbedding) {
  const Embedding good{
      .rows = kRows, .width = kWidth, .table = room(), .ids = room<int32_t>(), .y = room()};
  expect_refused<Embedding>(
      good, embedding,
      {{"no ids", [](auto& op) { op.ids = nullptr; }},
       {"a table of positions without positions", [](auto& op) { op.positions_table = op.table; }},
       {"no rows", [](auto& op) { op.rows = 0; }}});
}

TEST_F(RefusedLaunch, OfCrossEntropy) {
  const CrossEntropy good{
      .loss = {.rows = kRows, .targets = room<int32_t>(), .nats = room<float>()},
      .vocabulary = 50,
      .stride = kWidth,
      .logits = room()};
  expect_refused<CrossEntropy>(
      good, cross_entropy,
      {{"no targets", [](auto& op) { op.loss.targets = nullptr; }},
       {"a vocabulary beyond the row", [](auto& op) { op.vocabulary = kWidth + 1; }},
       {"a stride of no whole access", [](auto& op) { op.stride = 51; }},
       {"no rows", [](auto& op) { op.loss.rows = 0; }},
       {"misaligned logits", [](auto& op) { op.logits = off(static_cast<char*>(op.logits)); }}});
}

TEST_F(RefusedLaunch, OfAdamW) {
  std::vector<TensorChunk> chunk = {{}};
  AdamW good{.tensors = array<AdamWTensor>("tensors", {AdamWTensor{.grad = room<float>(),
                                                                   .master = room<float>(),
                                                                   .m = room(),
                                                                   .v = room(),
                                                                   .count = 64}}),
             .chunks = array("chunks", chunk),
             .chunk_count = 1};
  expect_refused<AdamW>(good, adamw,
                        {{"no chunks", [](auto& op) { op.chunk_count = 0; }},
                         {"no tensors", [](auto& op) { op.tensors = nullptr; }},
                         {"moments in f16", [](auto& op) { op.state = DataType::kF16; }},
                         {"no such copy", [](auto& op) { op.copy = static_cast<WeightCopy>(9); }}});
}

TEST_F(RefusedLaunch, OfFixedPoint) {
  const FixedAccumulate good{.gradient = room<float>(),
                             .accumulator = room<uint64_t>(),
                             .poison = room<unsigned long long>(),
                             .count = 100,
                             .terms = 1};
  expect_refused<FixedAccumulate>(good, accumulate_fixed,
                                  {{"no terms", [](auto& op) { op.terms = 0; }},
                                   {"no poison", [](auto& op) { op.poison = nullptr; }},
                                   {"no elements", [](auto& op) { op.count = 0; }}});
}

TEST_F(RefusedLaunch, OfTheWire) {
  const Quantize good{.values = room<float>(),
                      .error = room<float>(),
                      .count = 100,
                      .integers = room<uint8_t>(),
                      .scales = room<float>()};
  expect_refused<Quantize>(
      good, quantize,
      {{"no error", [](auto& op) { op.error = nullptr; }},
       {"no elements", [](auto& op) { op.count = 0; }},
       {"no such type", [](auto& op) { op.type = static_cast<WireType>(5); }}});
}

TEST_F(RefusedLaunch, OfACast) {
  const CastScale good{.count = 100, .from = room(), .to = room()};
  expect_refused<CastScale>(good, cast_scale,
                            {{"nowhere to", [](auto& op) { op.to = nullptr; }},
                             {"2^42 elements", [](auto& op) { op.count = int64_t{1} << 42; }}});
}

TEST_F(RefusedLaunch, OfAColumnSum) {
  const ColumnSum good{.rows = kRows,
                       .columns = kWidth,
                       .x = room(),
                       .sums = room<float>(),
                       .workspace = room<float>()};
  expect_refused<ColumnSum>(good, column_sum,
                            {{"no sums", [](auto& op) { op.sums = nullptr; }},
                             {"4 columns", [](auto& op) { op.columns = 4; }},
                             {"2^31 rows", [](auto& op) { op.rows = kTooMany; }}});
}

}  // namespace
}  // namespace kente::cuda
