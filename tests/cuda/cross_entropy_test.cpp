#include "cuda/cross_entropy.h"

#include <cmath>
#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

constexpr double kScale = 0.25;

struct LossShape {
  int64_t rows, vocabulary;
};

class CrossEntropyKernel : public KernelCase {
 protected:
  /// Rows of logits, padded to whole sectors with what must not be looked at.
  void make(DataType dtype, const LossShape& shape) {
    dtype_ = dtype;
    shape_ = shape;
    stride_ = (shape.vocabulary + 127) / 128 * 128;
    const DeviceTensor plain = random("plain", dtype, shape.rows * shape.vocabulary, 3);
    plain_ = plain.values();
    logits_ = tensor("logits", dtype, padded(plain_, stride_, NAN));
    for (int64_t row = 0; row < shape.rows; ++row) {
      targets_.push_back(static_cast<int32_t>((row * 7919 + 5) % shape.vocabulary));
      mask_.push_back(row % 4 != 1);
    }
    targets_.back() = static_cast<int32_t>(shape.vocabulary - 1);
    nats_ = tensor("nats", DataType::kF32, shape.rows);
    loss_ = {.rows = shape.rows,
             .targets = array("targets", targets_),
             .mask = array("mask", mask_),
             .nats = nats_.as<float>()};
    wanted_ = reference::cross_entropy(plain_, targets_, mask_, shape.vocabulary, kScale);
  }
  /// Columns [first, first + count) of rows of the vocabulary, each filled up to stride.
  Values columns_of(const Values& rows, int64_t first, int64_t count, int64_t stride,
                    double with) const {
    Values values;
    for (auto row = rows.begin(); row != rows.end(); row += shape_.vocabulary) {
      values.insert(values.end(), row + first, row + first + count);
      values.resize(values.size() + static_cast<size_t>(stride - count), with);
    }
    return values;
  }
  Values padded(const Values& rows, int64_t stride, double with) const {
    return columns_of(rows, 0, shape_.vocabulary, stride, with);
  }
  CrossEntropy op() const {
    return {.dtype = dtype_,
            .loss = loss_,
            .vocabulary = shape_.vocabulary,
            .stride = stride_,
            .logits = logits_.as(),
            .grad_scale = kScale};
  }

  DataType dtype_ = DataType::kF32;
  LossShape shape_{};
  int64_t stride_ = 0;
  Values plain_;
  std::vector<int32_t> targets_, mask_;
  DeviceTensor logits_, nats_;
  LossRows loss_;
  reference::Loss wanted_;
};

class CrossEntropyTypes : public CrossEntropyKernel,
                          public testing::WithParamInterface<std::tuple<DataType, LossShape>> {
 protected:
  CrossEntropyTypes() { make(std::get<0>(GetParam()), std::get<1>(GetParam())); }
};

TEST_P(CrossEntropyTypes, LossAndGradientAreTheReferencesWithOneLoadAndOneStore) {
  ASSERT_TRUE(fits_on_chip(dtype_, stride_, queue_.tuning));
  ASSERT_EQ(cross_entropy(op(), queue_), cudaSuccess);
  expect_close(nats_.values(), wanted_.nats, 4e-6);
  expect_close(logits_.values(), padded(wanted_.gradient, stride_, 0), tolerance_of(dtype_));
  expect_moved(logits_, 1, 1);
}

TEST_P(CrossEntropyTypes, ARowThatDoesNotFitIsLoadedTwiceAndTheSame) {
  queue_.tuning.shared_bytes = 0;
  ASSERT_FALSE(fits_on_chip(dtype_, stride_, queue_.tuning));
  ASSERT_EQ(cross_entropy(op(), queue_), cudaSuccess);
  expect_close(nats_.values(), wanted_.nats, 4e-6);
  expect_close(logits_.values(), padded(wanted_.gradient, stride_, 0), tolerance_of(dtype_));
  const int64_t held = int64_t{1024} * 4 * 16;  // bytes that registers hold
  const int64_t row = stride_ * size_of(dtype_);
  EXPECT_EQ(gpu_.memory().buffer("logits").loads.bytes,
            shape_.rows * (row + std::max<int64_t>(0, row - held)));
}

TEST_P(CrossEntropyTypes, WithoutAGradientLogitsStay) {
  CrossEntropy only_loss = op();
  only_loss.become = LogitsBecome::kNothing;
  ASSERT_EQ(cross_entropy(only_loss, queue_), cudaSuccess);
  expect_close(nats_.values(), wanted_.nats, 4e-6);
  expect_moved(logits_, 1, 0);
}

TEST_P(CrossEntropyTypes, InChunksItIsTheSameAndNeverHoldsAllLogits) {
  const int64_t columns = (shape_.vocabulary / 3 + 127) / 128 * 128;
  VocabularyChunk chunk{.dtype = dtype_, .loss = loss_, .stride = columns};
  const DeviceTensor logits = tensor("chunk", dtype_, shape_.rows * columns);
  const DeviceTensor running = tensor("running", DataType::kF32, 2 * shape_.rows);
  const DeviceTensor target_logits = tensor("target_logits", DataType::kF32, shape_.rows);
  chunk.logits = logits.as();
  chunk.running = running.as<float>();
  chunk.target_logits = target_logits.as<float>();
  const auto select = [&](int64_t first) {
    chunk.first = first;
    chunk.columns = std::min(columns, shape_.vocabulary - first);
    logits.set(columns_of(plain_, first, chunk.columns, columns, NAN));
  };
  for (int64_t first = 0; first < shape_.vocabulary; first += columns) {
    select(first);
    gpu_.memory().forget_traffic();
    ASSERT_EQ(cross_entropy_gather(chunk, queue_), cudaSuccess);
    expect_moved(logits, 1, 0);
  }
  ASSERT_EQ(cross_entropy_nats(chunk, queue_), cudaSuccess);
  expect_close(nats_.values(), wanted_.nats, 4e-6);
  for (int64_t first = 0; first < shape_.vocabulary; first += columns) {
    select(first);
    gpu_.memory().forget_traffic();
    ASSERT_EQ(cross_entropy_gradient(chunk, kScale, queue_), cudaSuccess);
    expect_moved(logits, 1, 1);
    const Values wanted = columns_of(wanted_.gradient, first, chunk.columns, columns, 0);
    expect_close(logits.values(), wanted, tolerance_of(dtype_));
  }
}

std::string name_of_loss(const testing::TestParamInfo<CrossEntropyTypes::ParamType>& info) {
  const auto [dtype, shape] = info.param;
  return name_of(dtype) + "Rows" + std::to_string(shape.rows) + "Vocabulary" +
         std::to_string(shape.vocabulary);
}

INSTANTIATE_TEST_SUITE_P(Cuda, CrossEntropyTypes,
                         testing::Combine(testing::ValuesIn(kAllTypes),
                                          testing::Values(LossShape{6, 300}, LossShape{2, 50257})),
                         name_of_loss);

// The widest vocabulary of today's models is 256 KiB a row in bf16, beyond any shared memory.
INSTANTIATE_TEST_SUITE_P(CudaWide, CrossEntropyTypes,
                         testing::Values(std::tuple(DataType::kBF16, LossShape{1, 128256})),
                         name_of_loss);

TEST_F(CrossEntropyKernel, ALogitThatIsNotANumberMakesTheLossOne) {
  make(DataType::kF32, {2, 300});
  plain_[77] = NAN;
  logits_.set(padded(plain_, stride_, 0));
  ASSERT_EQ(cross_entropy(op(), queue_), cudaSuccess);
  EXPECT_TRUE(std::isnan(nats_.values()[0]));
  EXPECT_EQ(nats_.values()[1], 0) << "masked";
}

}  // namespace
}  // namespace kente::cuda
