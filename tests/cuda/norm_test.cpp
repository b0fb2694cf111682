#include "cuda/norm.h"

#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

constexpr float kEps = 1e-5f;
enum class Family { kRms, kLayer };

struct NormShape {
  int64_t rows, width;
};

// Widths of real models, one that is less than a warp's, one no warp divides; rows that fill no
// block.
constexpr NormShape kNormShapes[] = {{3, 8}, {67, 64}, {5, 528}, {21, 768}, {9, 2048}, {3, 8192}};

class Norms : public KernelCase,
              public testing::WithParamInterface<std::tuple<Family, DataType, NormShape>> {
 protected:
  Norms() {
    queue_.tuning.row_blocks = 4;  // so that a block has several rows to go round
    const auto [rows, width] = shape_;
    x_ = random("x", dtype_, rows * width, 2);
    w_ = random("w", DataType::kF32, width);
    b_ = random("b", DataType::kF32, width);
    stats_ = tensor("stats", DataType::kF32, rms() ? rows : 2 * rows);
  }
  bool rms() const { return family_ == Family::kRms; }
  NormForward forward(const DeviceTensor& y) {
    return {.dtype = dtype_,
            .rows = shape_.rows,
            .width = shape_.width,
            .eps = kEps,
            .x = x_.as(),
            .w = w_.as<float>(),
            .b = b_.as<float>(),
            .y = y.as(),
            .stats = stats_.as<float>()};
  }
  cudaError_t run(const NormForward& norm) {
    return rms() ? rms_norm(norm, queue_) : layer_norm(norm, queue_);
  }
  cudaError_t run(const NormBackward& norm) {
    return rms() ? rms_norm_backward(norm, queue_) : layer_norm_backward(norm, queue_);
  }
  reference::Norm wanted(const Values& x) {
    return rms() ? reference::rms_norm(x, w_.values(), shape_.width, kEps)
                 : reference::layer_norm(x, w_.values(), b_.values(), shape_.width, kEps);
  }
  void expect_stats(const reference::Norm& wanted) {
    Values both;
    for (size_t row = 0; row < wanted.rstd.size(); ++row) {
      if (!rms()) both.push_back(wanted.mean[row]);
      both.push_back(wanted.rstd[row]);
    }
    expect_close(stats_.values(), both, 2e-6);
  }

  const Family family_ = std::get<0>(GetParam());
  const DataType dtype_ = std::get<1>(GetParam());
  const NormShape shape_ = std::get<2>(GetParam());
  const int64_t elements_ = shape_.rows * shape_.width;
  DeviceTensor x_, w_, b_, stats_;
};

TEST_P(Norms, ForwardIsTheReferencesAndMovesEachElementOnce) {
  const DeviceTensor y = tensor("y", dtype_, elements_);
  ASSERT_EQ(run(forward(y)), cudaSuccess);
  const reference::Norm truth = wanted(x_.values());
  expect_close(y.values(), truth.y, tolerance_of(dtype_));
  expect_stats(truth);
  expect_moved(x_, 1, 0);
  expect_moved(y, 0, 1);
}

TEST_P(Norms, ForwardOfASumKeepsTheSum) {
  const DeviceTensor residual = random("residual", dtype_, elements_);
  const DeviceTensor sum = tensor("sum", dtype_, elements_), y = tensor("y", dtype_, elements_);
  NormForward norm = forward(y);
  norm.residual = residual.as();
  norm.sum = sum.as();
  ASSERT_EQ(run(norm), cudaSuccess);
  Values added = x_.values();
  const Values more = residual.values();
  for (size_t i = 0; i < added.size(); ++i) added[i] += more[i];
  expect_close(sum.values(), added, tolerance_of(dtype_));
  const reference::Norm truth = wanted(sum.values());
  expect_close(y.values(), truth.y, tolerance_of(dtype_));
  expect_stats(truth);
  for (const DeviceTensor& read : {x_, residual}) expect_moved(read, 1, 0);
  for (const DeviceTensor& written : {sum, y}) expect_moved(written, 0, 1);
}

TEST_P(Norms, BackwardIsTheReferencesAndMovesEachElementOnce) {
  ASSERT_EQ(run(forward(tensor("y", dtype_, elements_))), cudaSuccess);
  const DeviceTensor dy = random("dy", dtype_, elements_);
  const DeviceTensor more = random("residual_grad", dtype_, elements_);
  const DeviceTensor dx = tensor("dx", dtype_, elements_);
  const DeviceTensor grad_w = random("grad_w", DataType::kF32, shape_.width);
  const DeviceTensor grad_b = random("grad_b", DataType::kF32, shape_.width);
  const DeviceTensor workspace =
      tensor("workspace", DataType::kF32,
             norm_backward_workspace(shape_.rows, shape_.width, queue_.tuning));
  Values w_before = grad_w.values(), b_before = grad_b.values();
  gpu_.memory().forget_traffic();
  ASSERT_EQ(run(NormBackward{.dtype = dtype_,
                             .rows = shape_.rows,
                             .width = shape_.width,
                             .x = x_.as(),
                             .stats = stats_.as<float>(),
                             .w = w_.as<float>(),
                             .dy = dy.as(),
                             .residual_grad = more.as(),
                             .dx = dx.as(),
                             .grad_w = grad_w.as<float>(),
                             .grad_b = grad_b.as<float>(),
                             .workspace = workspace.as<float>()}),
            cudaSuccess);
  const reference::NormGrads truth =
      rms() ? reference::rms_norm_backward(x_.values(), w_.values(), dy.values(), more.values(),
                                           shape_.width, kEps)
            : reference::layer_norm_backward(x_.values(), w_.values(), dy.values(), more.values(),
                                             shape_.width, kEps);
  expect_close(dx.values(), truth.dx, 4 * tolerance_of(DataType::kF32) + tolerance_of(dtype_));
  for (size_t i = 0; i < w_before.size(); ++i) {
    w_before[i] += truth.w[i];
    b_before[i] += rms() ? 0 : truth.b[i];
  }
  expect_close(grad_w.values(), w_before, 1e-5);
  expect_close(grad_b.values(), b_before, 1e-5);
  for (const DeviceTensor& read : {x_, dy, more}) expect_moved(read, 1, 0);
  expect_moved(dx, 0, 1);
}

class NormsInPlace : public Norms {};

TEST_P(NormsInPlace, IsTheSame) {
  const Values before = x_.values();
  const DeviceTensor residual = random("residual", dtype_, elements_);
  const DeviceTensor apart = tensor("apart", dtype_, elements_);
  ASSERT_EQ(run(forward(apart)), cudaSuccess);
  NormForward norm = forward(x_);
  ASSERT_EQ(run(norm), cudaSuccess);
  EXPECT_EQ(x_.values(), apart.values());
  x_.set(before);
  norm = forward(apart);
  norm.residual = residual.as();
  norm.sum = residual.as();
  ASSERT_EQ(run(norm), cudaSuccess);
  expect_close(apart.values(), wanted(residual.values()).y, tolerance_of(dtype_));
}

std::string name_of_norm(const testing::TestParamInfo<Norms::ParamType>& info) {
  const auto [family, dtype, shape] = info.param;
  return std::string(family == Family::kRms ? "Rms" : "Layer") + name_of(dtype) + "Rows" +
         std::to_string(shape.rows) + "Width" + std::to_string(shape.width);
}

INSTANTIATE_TEST_SUITE_P(Cuda, NormsInPlace,
                         testing::Combine(testing::Values(Family::kRms, Family::kLayer),
                                          testing::ValuesIn(kAllTypes),
                                          testing::Values(NormShape{21, 768})),
                         name_of_norm);
INSTANTIATE_TEST_SUITE_P(Cuda, Norms,
                         testing::Combine(testing::Values(Family::kRms, Family::kLayer),
                                          testing::ValuesIn(kAllTypes),
                                          testing::ValuesIn(kNormShapes)),
                         name_of_norm);

}  // namespace
}  // namespace kente::cuda
