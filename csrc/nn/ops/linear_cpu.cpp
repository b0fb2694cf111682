#include "csrc/nn/ops/linear.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <vector>

#include "csrc/nn/ops/half_gemm.h"
#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

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
    gemm_half({x}, {w, true}, false, out);
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
  gemm_half({dy}, {w}, false, product);
  return finish(product, type, {}, {});
}

void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& grad_w) {
  if (is_half(dy.scalar_type())) {
    gemm_half({dy, true}, {x}, true, grad_w);
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
