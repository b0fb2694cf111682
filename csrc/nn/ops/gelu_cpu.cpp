#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "csrc/nn/ops/activation.h"
#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

// 2 sqrt(2 / pi): (1 + tanh u) / 2 is the sigmoid of 2u.
constexpr double kTwoBeta = 1.5957691216057308;
constexpr double kCubic = 0.044715;

template <typename T>
KENTE_KERNEL void forward_flat(const T* x, T* y, int64_t count) {
  using Real = RealOf<T>;
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    const int64_t n = std::min(kLanes<T>, count - i);
    const Vec<Real> v = load(x + i, n);
    const Vec<Real> u = static_cast<Real>(kTwoBeta) * v * (1 + static_cast<Real>(kCubic) * v * v);
    store(y + i, v * vec_sigmoid<Real>(u), n);
  }
}

template <typename T>
KENTE_KERNEL void backward_flat(T* x, const T* dy, int64_t count) {
  using Real = RealOf<T>;
  constexpr Real kBeta = static_cast<Real>(kTwoBeta);
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    const int64_t n = std::min(kLanes<T>, count - i);
    const Vec<Real> v = load(x + i, n);
    const Vec<Real> square = static_cast<Real>(kCubic) * v * v;
    const Vec<Real> s = vec_sigmoid<Real>(kBeta * v * (1 + square));
    const Vec<Real> slope = s + v * s * (1 - s) * (kBeta * (1 + 3 * square));
    store(x + i, load(dy + i, n) * slope, n);
  }
}

}  // namespace

at::Tensor gelu(const at::Tensor& x) {
  at::Tensor y = at::empty_like(x);
  with_type(x.scalar_type(), [&]<typename T>(T) {
    forward_flat(x.const_data_ptr<T>(), y.mutable_data_ptr<T>(), x.numel());
  });
  return y;
}

void gelu_backward(const at::Tensor& x, const at::Tensor& dy) {
  with_type(x.scalar_type(), [&]<typename T>(T) {
    backward_flat(x.mutable_data_ptr<T>(), dy.const_data_ptr<T>(), x.numel());
  });
}

}  // namespace kente
