#include "csrc/train/optimizer.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kente {
namespace {

struct AdamWFactors {
  float gradient, beta1, beta2, epsilon;
  float keep;        // 1 - lr wd
  float step_size;   // lr / (1 - b1^t)
  float root_scale;  // 1 / sqrt(1 - b2^t)
};

// Elementwise, without contraction: the same bits on every instruction set.
[[gnu::always_inline]] inline void update_body(float* __restrict p, float* __restrict m,
                                               float* __restrict v, const float* __restrict g,
                                               int64_t count, AdamWFactors f) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * f.gradient;
    m[i] = f.beta1 * m[i] + (1.0f - f.beta1) * gradient;
    v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * (gradient * gradient);
    const float denominator = std::sqrt(v[i]) * f.root_scale + f.epsilon;
    p[i] = p[i] * f.keep - f.step_size * (m[i] / denominator);
  }
}

void update_any(float* p, float* m, float* v, const float* g, int64_t count, AdamWFactors f) {
  update_body(p, m, v, g, count, f);
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512vl,prefer-vector-width=512")]] void update_avx512(
    float* p, float* m, float* v, const float* g, int64_t count, AdamWFactors f) {
  update_body(p, m, v, g, count, f);
}
#endif

std::vector<ElementRange> whole_groups(const Parameters& parameters) {
  std::vector<ElementRange> ranges;
  for (const int group : parameters.groups()) {
    ranges.resize(static_cast<size_t>(group) + 1);
    ranges.back() = {.begin = 0, .end = parameters.layout(group).size};
  }
  return ranges;
}

}  // namespace

double learning_rate(const Recipe& recipe, int64_t step) {
  const LrConfig& lr = recipe.lr;
  const double peak = recipe.optimizer.learning_rate;
  if (step <= lr.warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(lr.warmup_steps);
  const double floor = peak * lr.min_ratio;
  const auto fraction_since = [&](int64_t start) {
    const double length = static_cast<double>(std::max<int64_t>(1, recipe.steps - start));
    return std::clamp(static_cast<double>(step - start) / length, 0.0, 1.0);
  };
  switch (lr.kind) {
    case LrSchedule::kConstant:
      return peak;
    case LrSchedule::kLinear:
      return peak + (floor - peak) * fraction_since(lr.warmup_steps);
    case LrSchedule::kCosine: {
      const double angle = std::numbers::pi * fraction_since(lr.warmup_steps);
      return floor + (peak - floor) * 0.5 * (1 + std::cos(angle));
    }
    case LrSchedule::kWsd:
      return peak + (floor - peak) * fraction_since(recipe.steps - lr.decay_steps);
  }
  return peak;
}

AdamW::AdamW(const OptimizerConfig& config, const Parameters& parameters,
             std::vector<ElementRange> shards)
    : config_(config),
      parameters_(parameters),
      shards_(std::move(shards)),
      exp_avg_(shards_.size()),
      exp_avg_sq_(shards_.size()) {
  for (const int group : parameters.groups()) {
    const auto index = static_cast<size_t>(group);
    exp_avg_[index] = at::zeros({shard(group).size()}, at::kFloat);
    exp_avg_sq_[index] = at::zeros({shard(group).size()}, at::kFloat);
  }
}

AdamW::AdamW(const OptimizerConfig& config, const Parameters& parameters)
    : AdamW(config, parameters, whole_groups(parameters)) {}

void AdamW::reset() {
  for (const int group : parameters_.groups()) {
    exp_avg(group).zero_();
    exp_avg_sq(group).zero_();
  }
}

void AdamW::update(int group, const at::Tensor& gradient, float factor, double lr, int64_t step) {
  const double t = static_cast<double>(step);
  AdamWFactors f{};
  f.gradient = factor;
  f.beta1 = static_cast<float>(config_.beta1);
  f.beta2 = static_cast<float>(config_.beta2);
  f.epsilon = static_cast<float>(config_.epsilon);
  f.step_size = static_cast<float>(lr / (1 - std::pow(config_.beta1, t)));
  f.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(config_.beta2, t)));
  const ElementRange& own = shard(group);
  float* p = parameters_.master(group).data_ptr<float>();
  float* m = exp_avg(group).data_ptr<float>();
  float* v = exp_avg_sq(group).data_ptr<float>();
  const float* g = gradient.data_ptr<float>();
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  const auto update = avx512 ? update_avx512 : update_any;
#else
  const auto update = update_any;
#endif
  for (const ParamSpec& spec : parameters_.layout(group).params) {
    f.keep = spec.decay ? static_cast<float>(1 - lr * config_.weight_decay) : 1.0f;
    const ElementRange part =
        intersect(own, {.begin = spec.offset, .end = spec.offset + spec.count});
    if (part.size() == 0) continue;
    const int64_t at = part.begin - own.begin;
    update(p + part.begin, m + at, v + at, g + part.begin, part.size(), f);
  }
}

}  // namespace kente
