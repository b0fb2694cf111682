#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace kente {

/// Sum of a_i b_i in double.
double dot(const at::Tensor& a, const at::Tensor& b);

/// Zeros [sizes] f64.
at::Tensor zeros(const std::vector<int64_t>& sizes);

/// Compares gradient with central differences of f at every element of x, both f64; f reads x.
void expect_gradient(const std::function<double()>& f, const at::Tensor& x,
                     const at::Tensor& gradient, const char* what);

}  // namespace kente
