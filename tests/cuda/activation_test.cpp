#include "cuda/activation.h"

#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

struct ActivationShape {
  int64_t rows, width;
};

// A real width, the narrowest, and one whose last block is not full.
constexpr ActivationShape kActivationShapes[] = {{4, 3072}, {1, 8}, {13, 176}};

class Activations : public KernelCase,
                    public testing::WithParamInterface<std::tuple<DataType, ActivationShape>> {
 protected:
  const DataType dtype_ = std::get<0>(GetParam());
  const int64_t rows_ = std::get<1>(GetParam()).rows, width_ = std::get<1>(GetParam()).width;
  const int64_t elements_ = rows_ * width_;
};

TEST_P(Activations, SwigluIsTheReferencesAndMovesEachElementOnce) {
  const DeviceTensor gate_up = random("gate_up", dtype_, 2 * elements_, 3);
  const DeviceTensor y = tensor("y", dtype_, elements_);
  ASSERT_EQ(
      swiglu(
          {.dtype = dtype_, .rows = rows_, .width = width_, .gate_up = gate_up.as(), .y = y.as()},
          queue_),
      cudaSuccess);
  expect_close(y.values(), reference::swiglu(gate_up.values(), width_), tolerance_of(dtype_));
  expect_moved(gate_up, 1, 0);
  expect_moved(y, 0, 1);
}

TEST_P(Activations, SwigluBackwardIsTheReferencesAndMovesEachElementOnce) {
  const DeviceTensor gate_up = random("gate_up", dtype_, 2 * elements_, 3);
  const DeviceTensor dy = random("dy", dtype_, elements_);
  const DeviceTensor grad = tensor("grad", dtype_, 2 * elements_);
  SwigluBackward op{.dtype = dtype_,
                    .rows = rows_,
                    .width = width_,
                    .gate_up = gate_up.as(),
                    .dy = dy.as(),
                    .grad = grad.as()};
  ASSERT_EQ(swiglu_backward(op, queue_), cudaSuccess);
  expect_close(grad.values(), reference::swiglu_backward(gate_up.values(), dy.values(), width_),
               tolerance_of(dtype_));
  expect_moved(gate_up, 1, 0);
  expect_moved(dy, 1, 0);
  expect_moved(grad, 0, 1);
  op.grad = gate_up.as();
  ASSERT_EQ(swiglu_backward(op, queue_), cudaSuccess);
  EXPECT_EQ(gate_up.values(), grad.values()) << "in place";
}

TEST_P(Activations, GeluWithBiasIsTheReferencesAndMovesEachElementOnce) {
  const DeviceTensor x = random("x", dtype_, elements_, 2), y = tensor("y", dtype_, elements_);
  const DeviceTensor bias = random("bias", DataType::kF32, width_);
  const DeviceTensor dy = random("dy", dtype_, elements_), dx = tensor("dx", dtype_, elements_);
  Values h = x.values();
  const Values b = bias.values();
  for (size_t i = 0; i < h.size(); ++i) h[i] += b[i % b.size()];
  ASSERT_EQ(gelu({.dtype = dtype_,
                  .rows = rows_,
                  .width = width_,
                  .x = x.as(),
                  .bias = bias.as<float>(),
                  .y = y.as()},
                 queue_),
            cudaSuccess);
  expect_close(y.values(), reference::gelu(h), tolerance_of(dtype_));
  expect_moved(x, 1, 0);
  expect_moved(y, 0, 1);
  gpu_.memory().forget_traffic();
  ASSERT_EQ(gelu_backward({.dtype = dtype_,
                           .rows = rows_,
                           .width = width_,
                           .x = x.as(),
                           .bias = bias.as<float>(),
                           .dy = dy.as(),
                           .dx = dx.as()},
                          queue_),
            cudaSuccess);
  expect_close(dx.values(), reference::gelu_backward(h, dy.values()), tolerance_of(dtype_));
  expect_moved(x, 1, 0);
  expect_moved(dy, 1, 0);
  expect_moved(dx, 0, 1);
}

TEST_P(Activations, GeluWithoutBias) {
  const DeviceTensor x = random("x", dtype_, elements_, 2);
  const Values before = x.values();
  const Gelu op{.dtype = dtype_, .rows = rows_, .width = width_, .x = x.as(), .y = x.as()};
  ASSERT_EQ(gelu(op, queue_), cudaSuccess);
  expect_close(x.values(), reference::gelu(before), tolerance_of(dtype_));
}

std::string name_of_activation(const testing::TestParamInfo<Activations::ParamType>& info) {
  const auto [dtype, shape] = info.param;
  return name_of(dtype) + "Rows" + std::to_string(shape.rows) + "Width" +
         std::to_string(shape.width);
}

INSTANTIATE_TEST_SUITE_P(Cuda, Activations,
                         testing::Combine(testing::ValuesIn(kAllTypes),
                                          testing::ValuesIn(kActivationShapes)),
                         name_of_activation);

}  // namespace
}  // namespace kente::cuda
