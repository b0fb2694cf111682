#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "csrc/nn/ops/norm.h"
#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

template <typename T>
KENTE_KERNEL void rms_norm_rows(const T* x, const RealOf<T>* w, T* y, RealOf<T>* stats,
                                int64_t rows, int64_t columns, RealOf<T> eps) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < rows; ++row, x += columns, y += columns) {
    Vec<Real> squares = {};
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const Vec<Real> v = load(x + i, std::min(kLanes<T>, columns - i));
      squares += v * v;
    }
    const Real mean = sum_lanes<Real>(squares) / static_cast<Real>(columns);
    const Real rstd = Real{1} / std::sqrt(mean + eps);
    stats[row] = rstd;
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, columns - i);
      store(y + i, load(x + i, count) * rstd * load(w + i, count), count);
    }
  }
}

template <typename T>
struct RmsNormBackward {
  const T* x;
  const RealOf<T>* stats;
  const RealOf<T>* w;
  const T* residual_grad;
  T* dy;
  RealOf<T>* grad_w;
};

template <typename T>
KENTE_KERNEL void rms_norm_backward_rows(const RmsNormBackward<T>& a, int64_t rows,
                                         int64_t columns) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < rows; ++row) {
    const T* x = a.x + row * columns;
    T* dy = a.dy + row * columns;
    const Real rstd = a.stats[row];
    Vec<Real> sum_xhat = {};
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, columns - i);
      sum_xhat += load(dy + i, count) * load(a.w + i, count) * (load(x + i, count) * rstd);
    }
    const Real mean_gx = sum_lanes<Real>(sum_xhat) / static_cast<Real>(columns);
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, columns - i);
      const Vec<Real> d = load(dy + i, count);
      const Vec<Real> xhat = load(x + i, count) * rstd;
      store(a.grad_w + i, load(a.grad_w + i, count) + d * xhat, count);
      Vec<Real> dx = (d * load(a.w + i, count) - xhat * mean_gx) * rstd;
      if (a.residual_grad != nullptr) dx += load(a.residual_grad + row * columns + i, count);
      store(dy + i, dx, count);
    }
  }
}

}  // namespace

NormOutput rms_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
  const at::ScalarType real = real_type(x.scalar_type());
  NormOutput out{at::empty_like(x), at::empty({x.size(0)}, x.options().dtype(real))};
  with_type(x.scalar_type(), [&]<typename T>(T) {
    using Real = RealOf<T>;
    rms_norm_rows<T>(x.const_data_ptr<T>(), w.const_data_ptr<Real>(), out.y.mutable_data_ptr<T>(),
                     out.stats.mutable_data_ptr<Real>(), x.size(0), x.size(1),
                     static_cast<Real>(eps));
  });
  return out;
}

void rms_norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                       const at::Tensor& residual_grad, const at::Tensor& dy,
                       const at::Tensor& grad_w) {
  with_type(x.scalar_type(), [&]<typename T>(T) {
    using Real = RealOf<T>;
    rms_norm_backward_rows<T>(
        {.x = x.const_data_ptr<T>(),
         .stats = stats.const_data_ptr<Real>(),
         .w = w.const_data_ptr<Real>(),
         .residual_grad = residual_grad.defined() ? residual_grad.const_data_ptr<T>() : nullptr,
         .dy = dy.mutable_data_ptr<T>(),
         .grad_w = grad_w.mutable_data_ptr<Real>()},
        x.size(0), x.size(1));
  });
}

}  // namespace kente
