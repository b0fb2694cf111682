#include "tests/nn/central_differences.h"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/nn/tiny_model.h"

namespace kente {

double dot(const at::Tensor& a, const at::Tensor& b) {
  const std::vector<double> x = values_of(a);
  const std::vector<double> y = values_of(b);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

void expect_gradient(const std::function<double()>& f, const at::Tensor& x,
                     const at::Tensor& gradient, const char* what) {
  ASSERT_EQ(x.numel(), gradient.numel());
  const std::vector<double> got = values_of(gradient);
  double* values = x.mutable_data_ptr<double>();
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < got.size(); ++i) {
    const double kept = values[i];
    values[i] = kept + kStep;
    const double above = f();
    values[i] = kept - kStep;
    const double below = f();
    values[i] = kept;
    const double want = (above - below) / (2 * kStep);
    ASSERT_NEAR(got[i], want, 1e-7 * std::max(1.0, std::abs(want))) << what << "[" << i << "]";
  }
}

at::Tensor zeros(const std::vector<int64_t>& sizes) {
  return at::zeros(sizes, at::TensorOptions().dtype(at::kDouble));
}

}  // namespace kente
