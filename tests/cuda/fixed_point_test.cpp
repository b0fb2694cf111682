#include "cuda/fixed_point.h"

#include <cmath>
#include <limits>

#include "csrc/nn/ops/fixed_point.h"
#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

// Whole groups only, and one with every kind of tail: 256 are a group, 1,024 a block of squares.
constexpr int64_t kCounts[] = {2048, 1024 + 256 + 77};

class FixedPointKernel : public KernelCase, public testing::WithParamInterface<int64_t> {
 protected:
  template <class T>
  std::vector<T> read(const T* data, int64_t count) const {
    return std::vector<T>(data, data + count);
  }
  const int64_t count_ = GetParam();
};

TEST_P(FixedPointKernel, AccumulatesToTheBitWhatTheCpuDoes) {
  const DeviceTensor gradient = random("gradient", DataType::kF32, count_, 1e-3);
  Values values = gradient.values();
  values[3] = NAN;
  values[11] = 1e30;  // beyond the limit
  values[12] = -5;
  gradient.set(values);
  std::vector<uint64_t> sums(static_cast<size_t>(count_));
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = i * 0x9e3779b97f4a7c15u;
  uint64_t* accumulator = array("accumulator", sums);
  auto* poison = array<unsigned long long>("poison", {40, 0});
  ASSERT_EQ(accumulate_fixed({.gradient = gradient.as<float>(),
                              .accumulator = accumulator,
                              .poison = poison,
                              .count = count_,
                              .terms = 16},
                             queue_),
            cudaSuccess);
  const int64_t bad = kente::accumulate_fixed(gradient.as<float>(), sums.data(), count_, 16);
  EXPECT_EQ(read(accumulator, count_), sums);
  EXPECT_EQ(bad, 2);
  EXPECT_EQ(poison[0], 42u);
  EXPECT_EQ(gpu_.memory().buffer("accumulator").loads.bytes, 8 * count_);
  EXPECT_EQ(gpu_.memory().buffer("accumulator").stores.bytes, 8 * count_);
  if (count_ % 256 == 0) {
    expect_moved(gradient, 1, 0);
    EXPECT_EQ(gpu_.memory().buffer("accumulator").loads.wide_bytes, 8 * count_);
    EXPECT_EQ(gpu_.memory().buffer("accumulator").loads.sectors, 8 * count_ / 32);
  }
}

TEST_P(FixedPointKernel, GivesBackToTheBitWhatTheCpuDoes) {
  std::vector<uint64_t> sums(static_cast<size_t>(count_));
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = i * 0x9e3779b97f4a7c15u;
  const DeviceTensor gradient = tensor("gradient", DataType::kF32, count_);
  ASSERT_EQ(fixed_to_float(array("sums", sums), gradient.as<float>(), count_, queue_), cudaSuccess);
  std::vector<float> wanted(sums.size());
  kente::fixed_to_float(sums.data(), wanted.data(), count_);
  EXPECT_EQ(read(gradient.as<const float>(), count_), wanted);
  if (count_ % 256 == 0) expect_moved(gradient, 0, 1);
}

TEST_P(FixedPointKernel, SumsSquaresOfManyTensorsWithinOnePass) {
  const DeviceTensor a = random("a", DataType::kF32, count_, 0.1);
  const DeviceTensor b = random("b", DataType::kF32, kChunkElements + 1024, 3000);
  const std::vector<SquaresTensor> tensors = {{a.as<float>(), a.count()},
                                              {b.as<float>(), b.count()}};
  const std::vector<TensorChunk> chunks = chunks_of({a.count(), b.count()});
  const SumSquares op{.tensors = array("tensors", tensors),
                      .chunks = array("chunks", chunks),
                      .chunk_count = static_cast<int64_t>(chunks.size()),
                      .sum = array<FixedSquares>("sum", {FixedSquares()})};
  ASSERT_EQ(sum_squares(op, queue_), cudaSuccess);
  double wanted = 0;
  for (const DeviceTensor& t : {a, b})
    for (const double v : t.values()) wanted += v * v;
  FixedNorm norm{.whole = static_cast<int64_t>(op.sum->whole),
                 .high = static_cast<int64_t>(op.sum->high),
                 .low = static_cast<int64_t>(op.sum->low)};
  EXPECT_NEAR(norm.root(), std::sqrt(wanted), 1e-12 * std::sqrt(wanted));
  EXPECT_EQ(op.sum->poison, 0u);
  expect_moved(b, 1, 0);
  Values values = a.values();
  values[700] = std::numeric_limits<double>::infinity();
  a.set(values);
  ASSERT_EQ(sum_squares(op, queue_), cudaSuccess);
  EXPECT_EQ(op.sum->poison, 1u);
}

INSTANTIATE_TEST_SUITE_P(Cuda, FixedPointKernel, testing::ValuesIn(kCounts),
                         [](const auto& info) { return "Count" + std::to_string(info.param); });

}  // namespace
}  // namespace kente::cuda
