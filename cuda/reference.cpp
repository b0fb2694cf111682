#include "cuda/reference.h"

#include <algorithm>
#include <cmath>

namespace kente::cuda::reference {
namespace {

/// Both norms: RMS norm is layer norm whose mean is taken for 0.
enum class Mean { kZero, kOfRow };

Norm norm(const Values& x, const Values& w, const Values& b, int64_t width, double eps, Mean of) {
  const auto d = static_cast<size_t>(width);
  Norm result;
  for (size_t row = 0; row < x.size(); row += d) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < d; ++i) mean += of == Mean::kOfRow ? x[row + i] / double(d) : 0;
    for (size_t i = 0; i < d; ++i) squares += (x[row + i] - mean) * (x[row + i] - mean);
    const double rstd = 1 / std::sqrt(squares / double(d) + eps);
    for (size_t i = 0; i < d; ++i)
      result.y.push_back((x[row + i] - mean) * rstd * w[i] + (b.empty() ? 0 : b[i]));
    result.mean.push_back(mean);
    result.rstd.push_back(rstd);
  }
  return result;
}

NormGrads norm_backward(const Values& x, const Values& w, const Values& dy,
                        const Values& residual_grad, int64_t width, double eps, Mean of) {
  const auto d = static_cast<size_t>(width);
  const Norm forward = norm(x, w, {}, width, eps, of);
  NormGrads grads{.dx = {}, .w = Values(d), .b = Values(d)};
  for (size_t row = 0; row < x.size(); row += d) {
    const double mean = forward.mean[row / d], rstd = forward.rstd[row / d];
    const auto xhat = [&](size_t i) { return (x[row + i] - mean) * rstd; };
    double along = 0, offset = 0;
    for (size_t i = 0; i < d; ++i) {
      const double g = dy[row + i] * w[i];
      along += g * xhat(i) / double(d);
      offset += of == Mean::kOfRow ? g / double(d) : 0;
      grads.w[i] += dy[row + i] * xhat(i);
      grads.b[i] += dy[row + i];
    }
    for (size_t i = 0; i < d; ++i)
      grads.dx.push_back(rstd * (dy[row + i] * w[i] - offset - xhat(i) * along) +
                         (residual_grad.empty() ? 0 : residual_grad[row + i]));
  }
  return grads;
}

}  // namespace

Norm rms_norm(const Values& x, const Values& w, int64_t width, double eps) {
  return norm(x, w, {}, width, eps, Mean::kZero);
}

Norm layer_norm(const Values& x, const Values& w, const Values& b, int64_t width, double eps) {
  return norm(x, w, b, width, eps, Mean::kOfRow);
}

NormGrads rms_norm_backward(const Values& x, const Values& w, const Values& dy,
                            const Values& residual_grad, int64_t width, double eps) {
  return norm_backward(x, w, dy, residual_grad, width, eps, Mean::kZero);
}

NormGrads layer_norm_backward(const Values& x, const Values& w, const Values& dy,
                              const Values& residual_grad, int64_t width, double eps) {
  return norm_backward(x, w, dy, residual_grad, width, eps, Mean::kOfRow);
}

Values column_sums(const Values& x, int64_t columns) {
  Values sums(static_cast<size_t>(columns));
  for (size_t i = 0; i < x.size(); ++i) sums[i % sums.size()] += x[i];
  return sums;
}

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

Values swiglu(const Values& gate_up, int64_t width) {
  const auto f = static_cast<size_t>(width);
  Values y;
  for (size_t row = 0; row < gate_up.size(); row += 2 * f)
    for (size_t i = row; i < row + f; ++i)
      y.push_back(gate_up[i] * sigmoid(gate_up[i]) * gate_up[i + f]);
  return y;
}

Values swiglu_backward(const Values& gate_up, const Values& dy, int64_t width) {
  const auto f = static_cast<size_t>(width);
  Values grad(gate_up.size());
  for (size_t row = 0; row < dy.size() / f; ++row)
    for (size_t i = 0; i < f; ++i) {
      const size_t at = 2 * row * f + i;
      const double gate = gate_up[at], up = gate_up[at + f], g = dy[row * f + i];
      const double s = sigmoid(gate);
      grad[at] = g * up * (s + gate * s * (1 - s));
      grad[at + f] = g * gate * s;
    }
  return grad;
}

namespace {

const double kRoot = std::sqrt(2 / 3.14159265358979323846);
constexpr double kCube = 0.044715;

}  // namespace

Values gelu(const Values& x) {
  Values y;
  for (const double h : x) y.push_back(h * sigmoid(2 * kRoot * (h + kCube * h * h * h)));
  return y;
}

Values gelu_backward(const Values& x, const Values& dy) {
  Values dx;
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = x[i], s = sigmoid(2 * kRoot * (h + kCube * h * h * h));
    dx.push_back(dy[i] * (s + h * s * (1 - s) * 2 * kRoot * (1 + 3 * kCube * h * h)));
  }
  return dx;
}

Values rope(const Values& row, const Values& cos, const Values& sin, double sign) {
  const size_t half = cos.size();
  Values turned(row.size());
  for (size_t head = 0; head < row.size(); head += 2 * half)
    for (size_t i = 0; i < half; ++i) {
      const double first = row[head + i], second = row[head + half + i];
      turned[head + i] = first * cos[i] - second * sign * sin[i];
      turned[head + half + i] = second * cos[i] + first * sign * sin[i];
    }
  return turned;
}

Loss cross_entropy(const Values& logits, const std::vector<int32_t>& targets,
                   const std::vector<int32_t>& mask, int64_t vocabulary, double grad_scale) {
  const auto v = static_cast<size_t>(vocabulary);
  Loss loss;
  for (size_t row = 0; row < targets.size(); ++row) {
    const bool counts = mask.empty() || mask[row] != 0;
    const auto logit = logits.begin() + static_cast<int64_t>(row * v);
    const double most = *std::max_element(logit, logit + vocabulary);
    double sum = 0;
    for (size_t i = 0; i < v; ++i) sum += std::exp(logit[static_cast<int64_t>(i)] - most);
    loss.nats.push_back(counts ? std::log(sum) + most - logit[targets[row]] : 0);
    for (int64_t i = 0; i < vocabulary; ++i) {
      const double p = std::exp(logit[i] - most) / sum - (i == targets[row] ? 1 : 0);
      loss.gradient.push_back(counts ? grad_scale * p : 0);
    }
  }
  return loss;
}

AdamWState adamw(const AdamWState& before, const Values& gradient, const AdamWRates& rates) {
  AdamWState after = before;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double g = rates.factor * gradient[i];
    after.m[i] = rates.beta1 * before.m[i] + (1 - rates.beta1) * g;
    after.v[i] = rates.beta2 * before.v[i] + (1 - rates.beta2) * g * g;
    after.p[i] =
        before.p[i] * (1 - rates.decay) -
        rates.step_size * after.m[i] / (std::sqrt(after.v[i]) * rates.root_scale + rates.eps);
  }
  return after;
}

}  // namespace kente::cuda::reference
