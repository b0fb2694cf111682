#include "csrc/nn/ops/linear.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "csrc/nn/ops/vector.h"

// MKL's bf16 x bf16 -> f32 product and that of f16, which libtorch_cpu carries and exports: at::mm
// would round the result, and a weight gradient with it. The enumerators are those of CBLAS.
extern "C" void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int m, int n,
                                       int k, float alpha, const void* a, int lda, const void* b,
                                       int ldb, float beta, float* c, int ldc);
extern "C" void cblas_gemm_f16f16f32(int layout, int transpose_a, int transpose_b, int m, int n,
                                     int k, float alpha, const void* a, int lda, const void* b,
                                     int ldb, float beta, float* c, int ldc);

namespace kente {
namespace {

constexpr int kRowMajor = 101;
constexpr int kNoTranspose = 111;
constexpr int kTranspose = 112;

int blas_int(int64_t value) {
  KENTE_CHECK(value <= std::numeric_limits<int>::max(), std::to_string(value) + " for MKL's int");
  return static_cast<int>(value);
}

// On a CPU without bf16 or f16 instructions MKL widens both operands to f32 first: products are cut
// into blocks, so that this costs a bounded amount of memory. Cut by shape alone.
constexpr int64_t kGemmBlock = 4096;

struct Operand {
  const at::Tensor& matrix;
  int transpose;
  bool is_transposed() const { return transpose == kTranspose; }
  int64_t rows() const { return matrix.size(is_transposed() ? 1 : 0); }
  int64_t columns() const { return matrix.size(is_transposed() ? 0 : 1); }
  int64_t stride() const { return matrix.size(1); }
  const uint16_t* at(int64_t row, int64_t column) const {
    return static_cast<const uint16_t*>(matrix.const_data_ptr()) +
           (is_transposed() ? column * stride() + row : row * stride() + column);
  }
};

/// c = a b + beta c for a and b both bf16 or both f16, f32 c.
void gemm_half(const Operand& a, const Operand& b, float beta, const at::Tensor& c) {
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  const int64_t k = a.columns();
  KENTE_CHECK(k == b.rows(), std::to_string(k) + " columns, " + std::to_string(b.rows()) + " rows");
  float* out = c.mutable_data_ptr<float>();
  const auto gemm =
      a.matrix.scalar_type() == at::kHalf ? cblas_gemm_f16f16f32 : cblas_gemm_bf16bf16f32;
  for (int64_t i = 0; i < m; i += kGemmBlock)
    for (int64_t j = 0; j < n; j += kGemmBlock)
      for (int64_t l = 0; l < k; l += kGemmBlock)
        gemm(kRowMajor, a.transpose, b.transpose, blas_int(std::min(kGemmBlock, m - i)),
             blas_int(std::min(kGemmBlock, n - j)), blas_int(std::min(kGemmBlock, k - l)), 1.0f,
             a.at(i, l), blas_int(a.stride()), b.at(l, j), blas_int(b.stride()),
             l == 0 ? beta : 1.0f, out + i * n + j, blas_int(n));
}

/// out = product + bias + residual, row by row; bias and residual may be null, out may be product.
template <typename T>
KENTE_KERNEL void add_bias_residual(const RealOf<T>* product, const RealOf<T>* bias,
                                    const T* residual, T* out, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row * columns;
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, columns - i);
      auto v = load(product + at + i, count);
      if (bias != nullptr) v += load(bias + i, count);
      if (residual != nullptr) v += load(residual + at + i, count);
      store(out + at + i, v, count);
    }
  }
}

template <typename T>
const T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

/// Rounds product to the compute dtype with bias and residual added; in place where the dtypes are
/// equal.
at::Tensor finish(const at::Tensor& product, at::ScalarType type, const at::Tensor& bias,
                  const at::Tensor& residual) {
  at::Tensor out = product;
  if (product.scalar_type() != type) {
    out = at::empty(product.sizes(), product.options().dtype(type));
  } else if (!bias.defined() && !residual.defined()) {
    return product;
  }
  with_type(type, [&]<typename T>(T) {
    add_bias_residual<T>(product.const_data_ptr<RealOf<T>>(), data_or_null<RealOf<T>>(bias),
                         data_or_null<T>(residual), out.mutable_data_ptr<T>(), product.size(0),
                         product.size(1));
  });
  return out;
}

template <typename T>
KENTE_KERNEL void sum_columns(const T* dy, RealOf<T>* sums, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, columns - i);
      store(sums + i, load(sums + i, count) + load(dy + row * columns + i, count), count);
    }
  }
}

template <typename Real>
KENTE_KERNEL void add_into(const Real* from, Real* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

void linear_real(const at::Tensor& x, const at::Tensor& w, const at::Tensor& out) {
  if (is_half(x.scalar_type())) {
    gemm_half({x, kNoTranspose}, {w, kTranspose}, 0, out);
  } else {
    at::Tensor result = out;
    at::mm_out(result, x, w.t());
  }
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                  const at::Tensor& residual) {
  const at::ScalarType type = x.scalar_type();
  const at::Tensor product = at::empty({x.size(0), w.size(0)}, x.options().dtype(real_type(type)));
  linear_real(x, w, product);
  return finish(product, type, bias, residual);
}

at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w) {
  const at::ScalarType type = dy.scalar_type();
  if (!is_half(type)) return at::mm(dy, w);
  const at::Tensor product = at::empty({dy.size(0), w.size(1)}, dy.options().dtype(at::kFloat));
  gemm_half({dy, kNoTranspose}, {w, kNoTranspose}, 0, product);
  return finish(product, type, {}, {});
}

void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& grad_w) {
  if (is_half(dy.scalar_type())) {
    gemm_half({dy, kTranspose}, {x, kNoTranspose}, 1, grad_w);
  } else {
    at::Tensor grad = grad_w;
    at::addmm_out(grad, grad, dy.t(), x);
  }
}

void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) {
  with_type(dy.scalar_type(), [&]<typename T>(T) {
    // Summed apart from what the gradient already holds: one micro-batch adds one number.
    std::vector<RealOf<T>> sums(static_cast<size_t>(dy.size(1)));
    sum_columns(dy.const_data_ptr<T>(), sums.data(), dy.size(0), dy.size(1));
    add_into(sums.data(), grad_bias.mutable_data_ptr<RealOf<T>>(), dy.size(1));
  });
}

}  // namespace kente
