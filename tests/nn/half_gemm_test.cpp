#include "csrc/nn/ops/half_gemm.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "csrc/base/rng.h"

namespace kente {
namespace {

struct Product {
  int64_t m, n, k;
};

std::string words(const Product& p) {
  return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k);
}

/// Values of bf16 about 1, none of them alike; stored as it is or as its transpose.
at::Tensor made_up(int64_t rows, int64_t columns, bool transposed, uint64_t stream) {
  at::Tensor matrix = at::empty({transposed ? columns : rows, transposed ? rows : columns},
                                at::TensorOptions().dtype(at::kBFloat16));
  auto* values = matrix.mutable_data_ptr<c10::BFloat16>();
  for (int64_t i = 0; i < matrix.numel(); ++i)
    values[i] =
        static_cast<float>(random_bits(1, RngUse::kTest, stream, static_cast<uint64_t>(i)) % 511) /
            128.0f -
        2.0f;
  return matrix;
}

double value(const HalfMatrix& matrix, int64_t row, int64_t column) {
  return static_cast<double>(c10::BFloat16(*matrix.at(row, column), c10::BFloat16::from_bits()));
}

class HalfGemm : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_gemm_half_packed()) GTEST_SKIP() << "this CPU has no AVX-512";
  }
};

/// f32 sums of k products of values up to 2.
void expect_product(const Product& p, bool a_transposed, bool b_transposed, bool add) {
  const at::Tensor a = made_up(p.m, p.k, a_transposed, 1), b = made_up(p.k, p.n, b_transposed, 2);
  const HalfMatrix left{a, a_transposed}, right{b, b_transposed};
  const at::Tensor c =
      at::full({p.m, p.n}, add ? 3.0f : NAN, at::TensorOptions().dtype(at::kFloat));
  gemm_half_packed(left, right, add, c);
  const double close = 1e-6 * 4 * std::sqrt(static_cast<double>(p.k)) * static_cast<double>(p.k);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) {
      double want = add ? 3 : 0;
      for (int64_t l = 0; l < p.k; ++l) want += value(left, i, l) * value(right, l, j);
      ASSERT_NEAR(c.const_data_ptr<float>()[i * p.n + j], want, close)
          << words(p) << " at " << i << ", " << j << (a_transposed ? " a" : "")
          << (b_transposed ? " b" : "") << (add ? " added" : "");
    }
}

TEST_F(HalfGemm, IsTheProductWhateverIsTransposedAndHoweverBlocksEnd) {
  for (const Product& p :
       {Product{1, 1, 1}, Product{3, 17, 5}, Product{16, 64, 32}, Product{33, 65, 31},
        Product{257, 70, 48}, Product{20, 130, 513}, Product{5, 4100, 3}, Product{300, 9, 1027}})
    for (const bool a : {false, true})
      for (const bool b : {false, true})
        for (const bool add : {false, true}) expect_product(p, a, b, add);
}

TEST_F(HalfGemm, WritesNothingBeyondTheProduct) {
  constexpr int64_t kGuard = 64;
  const Product p{19, 33, 40};
  const at::Tensor a = made_up(p.m, p.k, false, 1), b = made_up(p.k, p.n, false, 2);
  const at::Tensor all =
      at::full({p.m * p.n + 2 * kGuard}, 7.0f, at::TensorOptions().dtype(at::kFloat));
  gemm_half_packed({a}, {b}, false, all.narrow(0, kGuard, p.m * p.n).view({p.m, p.n}));
  const float* values = all.const_data_ptr<float>();
  for (int64_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(values[i], 7.0f);
    EXPECT_EQ(values[kGuard + p.m * p.n + i], 7.0f);
  }
}

// An odd k is filled up with zeros, not with what follows in memory: nothing times infinity is NaN.
TEST_F(HalfGemm, WhatStandsBehindARowOrAColumnDoesNotCount) {
  constexpr int64_t kDepth = 35;
  const auto infinity = std::numeric_limits<float>::infinity();
  for (const bool a_transposed : {false, true})
    for (const bool b_transposed : {false, true}) {
      const at::Tensor a = made_up(2, kDepth, a_transposed, 1);
      const at::Tensor b = made_up(kDepth, 2, b_transposed, 2);
      const HalfMatrix left{a, a_transposed}, right{b, b_transposed};
      // The second row of a and the second column of b begin with it.
      *const_cast<uint16_t*>(left.at(1, 0)) = c10::BFloat16(infinity).x;
      *const_cast<uint16_t*>(right.at(0, 1)) = c10::BFloat16(infinity).x;
      const at::Tensor c = at::full({2, 2}, 0.0f, at::TensorOptions().dtype(at::kFloat));
      gemm_half_packed(left, right, false, c);
      EXPECT_TRUE(std::isfinite(c.const_data_ptr<float>()[0])) << a_transposed << b_transposed;
      EXPECT_FALSE(std::isfinite(c.const_data_ptr<float>()[3])) << a_transposed << b_transposed;
    }
}

// A grain's gradients are the same bits alone and among others.
TEST_F(HalfGemm, ARowHasTheSameBitsAmongAnyNumberOfRows) {
  constexpr int64_t kRows = 300, kColumns = 90, kDepth = 700;
  const at::Tensor a = made_up(kRows, kDepth, false, 1), b = made_up(kDepth, kColumns, false, 2);
  const auto product = [&](int64_t first, int64_t rows) {
    at::Tensor c = at::empty({rows, kColumns}, at::TensorOptions().dtype(at::kFloat));
    const at::Tensor some = a.narrow(0, first, rows);
    gemm_half_packed({some}, {b}, false, c);
    return c;
  };
  const at::Tensor whole = product(0, kRows);
  for (const int64_t rows : {1, 7, 50, 299}) {
    const at::Tensor part = product(kRows - rows, rows);
    EXPECT_EQ(0, std::memcmp(part.const_data_ptr(),
                             whole.const_data_ptr<float>() + (kRows - rows) * kColumns,
                             static_cast<size_t>(rows * kColumns) * 4))
        << rows;
  }
}

TEST_F(HalfGemm, BothLibrariesAgree) {
  const Product p{70, 100, 200};
  const at::Tensor a = made_up(p.m, p.k, true, 1), b = made_up(p.k, p.n, true, 2);
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const at::Tensor packed = at::full({p.m, p.n}, 1.0f, options);
  const at::Tensor mkl = at::full({p.m, p.n}, 1.0f, options);
  gemm_half_packed({a, true}, {b, true}, true, packed);
  gemm_half_mkl({a, true}, {b, true}, true, mkl);
  for (int64_t i = 0; i < p.m * p.n; ++i)
    ASSERT_NEAR(packed.const_data_ptr<float>()[i], mkl.const_data_ptr<float>()[i], 1e-3) << i;
}

}  // namespace
}  // namespace kente
