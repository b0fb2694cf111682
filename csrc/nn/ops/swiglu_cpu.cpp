#include <ATen/ops/empty.h>

#include <algorithm>

#include "csrc/nn/ops/activation.h"
#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

template <typename T>
KENTE_KERNEL void swiglu_rows(const T* gate_up, T* y, int64_t rows, int64_t columns) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up + row * 2 * columns;
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t n = std::min(kLanes<T>, columns - i);
      const Vec<Real> g = load(gate + i, n);
      store(y + row * columns + i, g * vec_sigmoid<Real>(g) * load(gate + columns + i, n), n);
    }
  }
}

template <typename T>
KENTE_KERNEL void swiglu_backward_rows(T* gate_up, const T* dy, int64_t rows, int64_t columns) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < rows; ++row) {
    T* gate = gate_up + row * 2 * columns;
    T* up = gate + columns;
    for (int64_t i = 0; i < columns; i += kLanes<T>) {
      const int64_t n = std::min(kLanes<T>, columns - i);
      const Vec<Real> g = load(gate + i, n);
      const Vec<Real> d = load(dy + row * columns + i, n);
      const Vec<Real> s = vec_sigmoid<Real>(g);
      store(gate + i, d * load(up + i, n) * (s + g * s * (1 - s)), n);
      store(up + i, d * g * s, n);
    }
  }
}

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  const int64_t columns = gate_up.size(1) / 2;
  at::Tensor y = at::empty({gate_up.size(0), columns}, gate_up.options());
  with_type(gate_up.scalar_type(), [&]<typename T>(T) {
    swiglu_rows(gate_up.const_data_ptr<T>(), y.mutable_data_ptr<T>(), y.size(0), columns);
  });
  return y;
}

void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) {
  with_type(gate_up.scalar_type(), [&]<typename T>(T) {
    swiglu_backward_rows(gate_up.mutable_data_ptr<T>(), dy.const_data_ptr<T>(), dy.size(0),
                         dy.size(1));
  });
}

}  // namespace kente
