#include "cuda/embedding.h"

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

class EmbeddingKernel : public KernelCase, public testing::WithParamInterface<DataType> {
 protected:
  static constexpr int64_t kWidth = 1056, kVocabulary = 9;
  const std::vector<int32_t> ids_ = {4, 0, 8, 4, 4, 7, 0, 4};
  const int64_t rows_ = static_cast<int64_t>(ids_.size());
};

TEST_P(EmbeddingKernel, GathersRowsAndAddsPositions) {
  const DeviceTensor table = random("table", GetParam(), kVocabulary * kWidth);
  const DeviceTensor places = random("places", GetParam(), 8 * kWidth);
  const DeviceTensor y = tensor("y", GetParam(), rows_ * kWidth);
  Embedding op{.dtype = GetParam(),
               .rows = rows_,
               .width = kWidth,
               .table = table.as(),
               .ids = array("ids", ids_),
               .y = y.as()};
  ASSERT_EQ(embedding(op, queue_), cudaSuccess);
  const Values from = table.values(), place = places.values();
  Values plain, sum;
  for (size_t row = 0; row < ids_.size(); ++row)
    for (size_t i = 0; i < kWidth; ++i) {
      plain.push_back(from[static_cast<size_t>(ids_[row]) * kWidth + i]);
      sum.push_back(plain.back() + place[(7 - row) * kWidth + i]);
    }
  EXPECT_EQ(y.values(), plain);
  expect_moved(y, 0, 1);
  EXPECT_EQ(gpu_.memory().buffer("table").loads.bytes, y.bytes());
  EXPECT_EQ(gpu_.memory().buffer("table").loads.wide_bytes, y.bytes());
  op.positions_table = places.as();
  op.positions = array<int32_t>("positions", {7, 6, 5, 4, 3, 2, 1, 0});
  ASSERT_EQ(embedding(op, queue_), cudaSuccess);
  expect_close(y.values(), sum, tolerance_of(GetParam()));
}

TEST_P(EmbeddingKernel, GradientAddsTheRowsOfAnIdInOrderAndTouchesNoOther) {
  const DeviceTensor dy = random("dy", GetParam(), rows_ * kWidth);
  const DeviceTensor grad = random("grad", DataType::kF32, kVocabulary * kWidth);
  const IdRuns runs = runs_of(ids_.data(), rows_);
  const Values d = dy.values();
  Values wanted = grad.values();
  for (size_t i = 0; i < d.size(); ++i)
    wanted[static_cast<size_t>(ids_[i / kWidth]) * kWidth + i % kWidth] += d[i];
  ASSERT_EQ(embedding_backward({.dtype = GetParam(),
                                .runs = static_cast<int64_t>(runs.ids.size()),
                                .width = kWidth,
                                .dy = dy.as(),
                                .rows = array("rows", runs.rows),
                                .begins = array("begins", runs.begins),
                                .ids = array("ids", runs.ids),
                                .grad_table = grad.as<float>()},
                               queue_),
            cudaSuccess);
  expect_close(grad.values(), wanted, 2e-6);
  expect_moved(dy, 1, 0);
  const int64_t touched = 4 * kWidth * 4;  // ids 0, 4, 7 and 8
  EXPECT_EQ(gpu_.memory().buffer("grad").loads.wide_bytes, touched);
  EXPECT_EQ(gpu_.memory().buffer("grad").stores.bytes, touched);
  EXPECT_EQ(gpu_.memory().buffer("grad").stores.sectors, touched / 32);
}

TEST(IdRuns, KeepTheOrderOfRowsWithinAnId) {
  const std::vector<int32_t> ids = {4, 0, 8, 4, 0};
  const IdRuns runs = runs_of(ids.data(), 5);
  EXPECT_EQ(runs.rows, (std::vector<int32_t>{1, 4, 0, 3, 2}));
  EXPECT_EQ(runs.begins, (std::vector<int32_t>{0, 2, 4, 5}));
  EXPECT_EQ(runs.ids, (std::vector<int32_t>{0, 4, 8}));
}

INSTANTIATE_TEST_SUITE_P(Cuda, EmbeddingKernel, testing::ValuesIn(kAllTypes),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace kente::cuda
