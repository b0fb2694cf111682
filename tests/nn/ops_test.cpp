// Each op in double against a slow reference or central differences, and in f32 and bf16 against
// double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/activation.h"
#include "csrc/nn/ops/attention.h"
#include "csrc/nn/ops/cross_entropy.h"
#include "csrc/nn/ops/embedding.h"
#include "csrc/nn/ops/linear.h"
#include "csrc/nn/ops/norm.h"
#include "csrc/nn/ops/rope.h"
#include "tests/nn/central_differences.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

constexpr int64_t kRows = 5;
constexpr int64_t kWidth = 21;  // two double vectors and a rest, one float vector and a rest

/// f32 keeps 24 bits, f16 11, bf16 8; a few rounding errors each.
double tolerance(at::ScalarType type) {
  if (type == at::kHalf) return 2.5e-3;
  return type == at::kFloat ? 3e-6 : 2e-2;
}

/// Rounded to type and back, so that both precisions start from the same numbers.
at::Tensor as(const at::Tensor& x, at::ScalarType type) { return x.to(type).contiguous(); }

TEST(Linear, BackwardMatchesCentralDifferences) {
  const at::Tensor x = random_tensor({kRows, 6}, 1);
  const at::Tensor w = random_tensor({kWidth, 6}, 2);
  const at::Tensor b = random_tensor({kWidth}, 3);
  const at::Tensor residual = random_tensor({kRows, kWidth}, 4);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 5);
  const auto f = [&] { return dot(linear(x, w, b, residual), dy); };
  const at::Tensor dw = zeros({kWidth, 6});
  const at::Tensor db = zeros({kWidth});
  linear_backward_weight(dy, x, dw);
  add_column_sums(dy, db);
  expect_gradient(f, x, linear_backward_input(dy, w), "x");
  expect_gradient(f, w, dw, "w");
  expect_gradient(f, b, db, "b");
  expect_gradient(f, residual, dy, "residual");
}

TEST(Linear, WeightGradientAddsToWhatIsThere) {
  const at::Tensor x = as(random_tensor({kRows, 6}, 1), at::kBFloat16);
  const at::Tensor dy = as(random_tensor({kRows, kWidth}, 5), at::kBFloat16);
  const at::Tensor once = zeros({kWidth, 6}).to(at::kFloat);
  const at::Tensor twice = zeros({kWidth, 6}).to(at::kFloat);
  linear_backward_weight(dy, x, once);
  linear_backward_weight(dy, x, twice);
  linear_backward_weight(dy, x, twice);
  EXPECT_LE(relative_difference(twice, once.mul(2)), 1e-6);
}

TEST(Linear, Bf16WeightGradientIsNotRoundedToBf16) {
  const at::Tensor x = as(random_tensor({64, 6}, 1), at::kBFloat16);
  const at::Tensor dy = as(random_tensor({64, kWidth}, 5), at::kBFloat16);
  const at::Tensor got = zeros({kWidth, 6}).to(at::kFloat);
  const at::Tensor want = zeros({kWidth, 6});
  linear_backward_weight(dy, x, got);
  linear_backward_weight(as(dy, at::kDouble), as(x, at::kDouble), want);
  EXPECT_LE(relative_difference(got, want), 1e-6);
}

class LowPrecision : public testing::TestWithParam<at::ScalarType> {
 protected:
  at::Tensor low(const std::vector<int64_t>& sizes, uint64_t stream) const {
    return as(random_tensor(sizes, stream), GetParam());
  }
  static at::Tensor wide(const at::Tensor& x) { return as(x, at::kDouble); }
  static at::Tensor real(const at::Tensor& x) { return as(x, at::kFloat); }
  void expect_close(const at::Tensor& got, const at::Tensor& want, const char* what) const {
    EXPECT_LE(relative_difference(got, want), tolerance(GetParam())) << what;
  }
};

TEST_P(LowPrecision, LinearAgreesWithDouble) {
  const at::Tensor x = low({kRows, 33}, 1);
  const at::Tensor w = low({kWidth, 33}, 2);
  const at::Tensor b = real(low({kWidth}, 3));
  const at::Tensor r = low({kRows, kWidth}, 4);
  const at::Tensor dy = low({kRows, kWidth}, 5);
  expect_close(linear(x, w, b, r), linear(wide(x), wide(w), wide(b), wide(r)), "y");
  expect_close(linear_backward_input(dy, w), linear_backward_input(wide(dy), wide(w)), "dx");
  const at::Tensor got = zeros({kWidth, 33}).to(at::kFloat);
  const at::Tensor want = zeros({kWidth, 33});
  linear_backward_weight(dy, x, got);
  linear_backward_weight(wide(dy), wide(x), want);
  expect_close(got, want, "dw");
  const at::Tensor got_b = zeros({kWidth}).to(at::kFloat);
  const at::Tensor want_b = zeros({kWidth});
  add_column_sums(dy, got_b);
  add_column_sums(wide(dy), want_b);
  expect_close(got_b, want_b, "db");
}

TEST_P(LowPrecision, NormsAgreeWithDouble) {
  const at::Tensor x = low({kRows, kWidth}, 1);
  const at::Tensor w = real(low({kWidth}, 2));
  const at::Tensor b = real(low({kWidth}, 3));
  const at::Tensor r = low({kRows, kWidth}, 4);
  const NormOutput layer = layer_norm(x, w, b, 1e-5);
  const NormOutput layer_want = layer_norm(wide(x), wide(w), wide(b), 1e-5);
  expect_close(layer.y, layer_want.y, "layer norm");
  const NormOutput rms = rms_norm(x, w, 1e-5);
  const NormOutput rms_want = rms_norm(wide(x), wide(w), 1e-5);
  expect_close(rms.y, rms_want.y, "RMS norm");
  const at::Tensor grad = zeros({4, kWidth}).to(at::kFloat);
  const at::Tensor grad_want = zeros({4, kWidth});
  at::Tensor dy = low({kRows, kWidth}, 5);
  at::Tensor dy_want = wide(dy);
  layer_norm_backward(x, layer.stats, w, r, dy, grad[0], grad[1]);
  layer_norm_backward(wide(x), layer_want.stats, wide(w), wide(r), dy_want, grad_want[0],
                      grad_want[1]);
  expect_close(dy, dy_want, "layer norm dx");
  dy = low({kRows, kWidth}, 6);
  dy_want = wide(dy);
  rms_norm_backward(x, rms.stats, w, r, dy, grad[2]);
  rms_norm_backward(wide(x), rms_want.stats, wide(w), wide(r), dy_want, grad_want[2]);
  expect_close(dy, dy_want, "RMS norm dx");
  expect_close(grad, grad_want, "vector gradients");
}

TEST_P(LowPrecision, ActivationsAgreeWithDouble) {
  const at::Tensor x = low({kRows, 2 * kWidth}, 1).mul(3);
  const at::Tensor dy = low({kRows, 2 * kWidth}, 2);
  const at::Tensor dy_half = low({kRows, kWidth}, 3);
  expect_close(gelu(x), gelu(wide(x)), "gelu");
  expect_close(swiglu(x), swiglu(wide(x)), "swiglu");
  at::Tensor got = x.clone();
  at::Tensor want = wide(x).clone();
  gelu_backward(got, dy);
  gelu_backward(want, wide(dy));
  expect_close(got, want, "gelu dx");
  got = x.clone();
  want = wide(x).clone();
  swiglu_backward(got, dy_half);
  swiglu_backward(want, wide(dy_half));
  expect_close(got, want, "swiglu dx");
}

TEST_P(LowPrecision, AttentionAgreesWithDouble) {
  const AttentionHeads heads{.heads = 4, .kv_heads = 2, .head_dim = 6};
  const std::vector<AttentionSegment> segments = {{0, 40}, {40, 7}, {47, 1}};
  at::Tensor qkv = low({48, heads.width()}, 1);
  at::Tensor qkv_want = wide(qkv).clone();
  const at::Tensor dy = low({48, 24}, 2);
  const AttentionOutput got = attention(qkv, heads, segments);
  const AttentionOutput want = attention(qkv_want, heads, segments);
  expect_close(got.out, want.out, "out");
  attention_backward(qkv, heads, segments, got, dy);
  attention_backward(qkv_want, heads, segments, want, wide(dy));
  expect_close(qkv, qkv_want, "dqkv");
}

INSTANTIATE_TEST_SUITE_P(Types, LowPrecision, testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const testing::TestParamInfo<at::ScalarType>& info) {
                           return c10::toString(info.param);
                         });

TEST(LayerNorm, BackwardMatchesCentralDifferences) {
  const at::Tensor x = random_tensor({kRows, kWidth}, 1);
  const at::Tensor w = random_tensor({kWidth}, 2);
  const at::Tensor b = random_tensor({kWidth}, 3);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 4);
  const at::Tensor residual_grad = random_tensor({kRows, kWidth}, 5);
  const auto f = [&] { return dot(layer_norm(x, w, b, 1e-5).y, dy) + dot(x, residual_grad); };
  const at::Tensor dx = dy.clone();
  const at::Tensor dw = zeros({kWidth});
  const at::Tensor db = zeros({kWidth});
  layer_norm_backward(x, layer_norm(x, w, b, 1e-5).stats, w, residual_grad, dx, dw, db);
  expect_gradient(f, x, dx, "x");
  expect_gradient(f, w, dw, "w");
  expect_gradient(f, b, db, "b");
}

TEST(LayerNorm, HasZeroMeanAndUnitVarianceInAWidthThatIsNoVector) {
  const at::Tensor x = as(random_tensor({kRows, kWidth}, 1).mul(3).add(100), at::kFloat);
  const at::Tensor w = zeros({kWidth}).add(1).to(at::kFloat);
  const at::Tensor b = zeros({kWidth}).to(at::kFloat);
  const std::vector<double> y = values_of(layer_norm(x, w, b, 0).y);
  for (int64_t row = 0; row < kRows; ++row) {
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < kWidth; ++i) {
      const double v = y[static_cast<size_t>(row * kWidth + i)];
      sum += v;
      squares += v * v;
    }
    EXPECT_NEAR(sum / kWidth, 0, 1e-5);
    EXPECT_NEAR(squares / kWidth, 1, 1e-5);
  }
}

TEST(RmsNorm, BackwardMatchesCentralDifferences) {
  const at::Tensor x = random_tensor({kRows, kWidth}, 1);
  const at::Tensor w = random_tensor({kWidth}, 2);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 4);
  const auto f = [&] { return dot(rms_norm(x, w, 1e-5).y, dy); };
  const at::Tensor dx = dy.clone();
  const at::Tensor dw = zeros({kWidth});
  rms_norm_backward(x, rms_norm(x, w, 1e-5).stats, w, {}, dx, dw);
  expect_gradient(f, x, dx, "x");
  expect_gradient(f, w, dw, "w");
}

TEST(Gelu, IsTheTanhFormAndItsBackwardMatchesCentralDifferences) {
  const at::Tensor x = random_tensor({kRows, kWidth}, 1).mul(2);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 2);
  const std::vector<double> in = values_of(x);
  const std::vector<double> out = values_of(gelu(x));
  for (size_t i = 0; i < in.size(); ++i) {
    const double u = std::sqrt(2 / M_PI) * (in[i] + 0.044715 * in[i] * in[i] * in[i]);
    ASSERT_NEAR(out[i], 0.5 * in[i] * (1 + std::tanh(u)), 1e-14);
  }
  const at::Tensor dx = x.clone();
  gelu_backward(dx, dy);
  expect_gradient([&] { return dot(gelu(x), dy); }, x, dx, "x");
}

TEST(Swiglu, BackwardMatchesCentralDifferences) {
  const at::Tensor x = random_tensor({kRows, 2 * kWidth}, 1).mul(2);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 2);
  const at::Tensor dx = x.clone();
  swiglu_backward(dx, dy);
  expect_gradient([&] { return dot(swiglu(x), dy); }, x, dx, "x");
}

TEST(Rope, RotatesBackWhatItRotated) {
  const RopeTable table = make_rope_table(10, 6, 100, at::kDouble);
  const int32_t positions[kRows] = {0, 9, 3, 3, 1};
  const at::Tensor x = random_tensor({kRows, 20}, 1);  // 3 heads of 6, and 2 columns that stay
  at::Tensor y = x.clone();
  rope(y, 3, positions, table, RopeDirection::kForward);
  EXPECT_GT(relative_difference(y, x), 0.1);
  EXPECT_EQ(values_of(y)[18], values_of(x)[18]);
  EXPECT_EQ(values_of(y)[0], values_of(x)[0]);         // position 0
  const double angle = 9 * std::pow(100.0, -2.0 / 6);  // position 9, pair (1, 4)
  EXPECT_NEAR(values_of(y)[21],
              values_of(x)[21] * std::cos(angle) - values_of(x)[24] * std::sin(angle), 1e-14);
  rope(y, 3, positions, table, RopeDirection::kBackward);
  EXPECT_LE(relative_difference(y, x), 1e-14);
}

TEST(Rope, BackwardMatchesCentralDifferences) {
  const RopeTable table = make_rope_table(10, 6, 100, at::kDouble);
  const int32_t positions[kRows] = {0, 9, 3, 3, 1};
  const at::Tensor x = random_tensor({kRows, 18}, 1);
  const at::Tensor dy = random_tensor({kRows, 18}, 2);
  const auto f = [&] {
    const at::Tensor y = x.clone();
    rope(y, 3, positions, table, RopeDirection::kForward);
    return dot(y, dy);
  };
  const at::Tensor dx = dy.clone();
  rope(dx, 3, positions, table, RopeDirection::kBackward);
  expect_gradient(f, x, dx, "x");
}

TEST(Rope, RefusesAPositionBeyondItsTable) {
  const RopeTable table = make_rope_table(10, 6, 100, at::kDouble);
  const int32_t positions[1] = {10};
  EXPECT_THROW(rope(random_tensor({1, 6}, 1), 1, positions, table, RopeDirection::kForward),
               InternalError);
}

TEST(Embedding, BackwardAddsEveryUseOfARow) {
  const int32_t ids[kRows] = {2, 0, 2, 2, 1};
  const at::Tensor table = random_tensor({4, kWidth}, 1);
  const at::Tensor dy = random_tensor({kRows, kWidth}, 2);
  const at::Tensor grad = zeros({4, kWidth});
  embedding_backward(dy, ids, grad);
  const auto f = [&] {
    const at::Tensor y = embedding(table, ids, kRows);
    add_embedding(table, ids, y);
    return 0.5 * dot(y, dy);
  };
  expect_gradient(f, table, grad, "table");
}

TEST(Embedding, RefusesAnIdOutsideTheTable) {
  const int32_t ids[2] = {0, 4};
  EXPECT_THROW(embedding(random_tensor({4, kWidth}, 1), ids, 2), InternalError);
  const int32_t negative[1] = {-1};
  EXPECT_THROW(embedding(random_tensor({4, kWidth}, 1), negative, 1), InternalError);
}

TEST(CrossEntropy, MatchesItsFormulaAndCentralDifferences) {
  const int32_t targets[kRows] = {0, 20, 3, 3, 7};
  const int32_t mask[kRows] = {1, 1, 0, 1, 1};
  const at::Tensor logits = random_tensor({kRows, kWidth}, 1).mul(3);
  const auto f = [&] {
    double sum = 0;
    for (const double n : cross_entropy(logits.clone(), {targets, mask}, std::nullopt)) sum += n;
    return 0.125 * sum;
  };
  const at::Tensor grad = logits.clone();
  const std::vector<double> nats = cross_entropy(grad, {targets, mask}, 0.125);
  const std::vector<double> l = values_of(logits);
  double sum = 0;
  for (int64_t i = 0; i < kWidth; ++i) sum += std::exp(l[static_cast<size_t>(i)]);
  EXPECT_NEAR(nats[0], std::log(sum) - l[0], 1e-13);
  EXPECT_EQ(nats[2], 0.0);
  expect_gradient(f, logits, grad, "logits");
}

TEST(CrossEntropy, InFloatAgreesWithDoubleAndSurvivesLargeLogits) {
  const int32_t targets[2] = {5, 1500};
  const int32_t mask[2] = {1, 1};
  const at::Tensor logits = as(random_tensor({2, 2001}, 1).mul(40).add(3000), at::kFloat);
  const at::Tensor grad = logits.clone();
  const at::Tensor grad_want = as(logits, at::kDouble).clone();
  const std::vector<double> got = cross_entropy(grad, {targets, mask}, 0.5);
  const std::vector<double> want = cross_entropy(grad_want, {targets, mask}, 0.5);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(got[i], want[i], 2e-7 * want[i]);
  EXPECT_LE(relative_difference(grad, grad_want), 1e-6);
}

TEST(CrossEntropy, ANonFiniteLogitMakesANonFiniteLoss) {
  const int32_t targets[1] = {0};
  const int32_t mask[1] = {1};
  at::Tensor logits = zeros({1, 40}).to(at::kFloat);
  logits[0][33].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_FALSE(std::isfinite(cross_entropy(logits, {targets, mask}, 1.0)[0]));
}

TEST(CrossEntropy, RoundsItsGradientInPlaceLikeACopyWould) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor values = as(random_tensor({7, 1111}, 1), at::kFloat);
    const at::Tensor want = values.to(type);
    const at::Tensor got = round_in_place(values, type);
    EXPECT_EQ(got.const_data_ptr(), values.const_data_ptr());
    EXPECT_TRUE(same_bits(got, want)) << c10::toString(type);
  }
}

}  // namespace
}  // namespace kente
