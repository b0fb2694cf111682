#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "csrc/nn/ops/rope.h"
#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

template <typename T>
KENTE_KERNEL void rotate_row(T* x, int64_t heads, int64_t half, const RealOf<T>* cosines,
                             RealOf<T> sign) {
  using Real = RealOf<T>;
  for (int64_t head = 0; head < heads; ++head, x += 2 * half) {
    for (int64_t i = 0; i < half; i += kLanes<T>) {
      const int64_t n = std::min(kLanes<T>, half - i);
      const Vec<Real> c = load(cosines + i, n);
      const Vec<Real> s = load(cosines + half + i, n) * sign;
      const Vec<Real> a = load(x + i, n);
      const Vec<Real> b = load(x + half + i, n);
      store(x + i, a * c - b * s, n);
      store(x + half + i, b * c + a * s, n);
    }
  }
}

}  // namespace

RopeTable make_rope_table(int64_t positions, int64_t head_dim, double theta, at::ScalarType real) {
  KENTE_CHECK(head_dim % 2 == 0, "head_dim " + std::to_string(head_dim));
  const int64_t half = head_dim / 2;
  RopeTable table{at::empty({positions, head_dim}, at::TensorOptions().dtype(real))};
  with_type(real, [&]<typename T>(T) {
    using Real = RealOf<T>;
    Real* out = table.cos_sin.mutable_data_ptr<Real>();
    for (int64_t i = 0; i < half; ++i) {
      const double frequency =
          std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      for (int64_t p = 0; p < positions; ++p) {
        const double angle = static_cast<double>(p) * frequency;
        out[p * head_dim + i] = static_cast<Real>(std::cos(angle));
        out[p * head_dim + half + i] = static_cast<Real>(std::sin(angle));
      }
    }
  });
  return table;
}

void rope(const at::Tensor& x, int64_t heads, const int32_t* positions, const RopeTable& table,
          RopeDirection direction) {
  const int64_t head_dim = table.cos_sin.size(1);
  with_type(x.scalar_type(), [&]<typename T>(T) {
    using Real = RealOf<T>;
    const Real* angles = table.cos_sin.const_data_ptr<Real>();
    const Real sign = direction == RopeDirection::kForward ? Real{1} : Real{-1};
    T* data = x.mutable_data_ptr<T>();
    for (int64_t row = 0; row < x.size(0); ++row) {
      const int32_t position = positions[row];
      KENTE_CHECK(
          position >= 0 && position < table.cos_sin.size(0),
          "position " + std::to_string(position) + " of " + std::to_string(table.cos_sin.size(0)));
      rotate_row<T>(data + row * x.size(1), heads, head_dim / 2, angles + position * head_dim,
                    sign);
    }
  });
}

}  // namespace kente
