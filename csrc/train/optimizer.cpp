#include "csrc/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kente {
namespace {

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
    exp_avg_[index] = parameters.ops().zeros({shard(group).size()}, at::kFloat);
    exp_avg_sq_[index] = parameters.ops().zeros({shard(group).size()}, at::kFloat);
  }
}

AdamW::AdamW(const OptimizerConfig& config, const Parameters& parameters)
    : AdamW(config, parameters, whole_groups(parameters)) {}

void AdamW::reset() {
  for (const int group : parameters_.groups()) {
    parameters_.ops().clear(exp_avg(group));
    parameters_.ops().clear(exp_avg_sq(group));
  }
}

bool AdamW::update(int group, const at::Tensor& gradient, float factor, double lr, int64_t step) {
  const double t = static_cast<double>(step);
  const AdamWFactors factors = {
      .gradient = factor,
      .beta1 = static_cast<float>(config_.beta1),
      .beta2 = static_cast<float>(config_.beta2),
      .epsilon = static_cast<float>(config_.epsilon),
      .step_size = static_cast<float>(lr / (1 - std::pow(config_.beta1, t))),
      .root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(config_.beta2, t)))};
  const ElementRange& own = shard(group);
  float* p = parameters_.master(group).data_ptr<float>();
  float* m = exp_avg(group).data_ptr<float>();
  float* v = exp_avg_sq(group).data_ptr<float>();
  const float* g = gradient.data_ptr<float>();
  const at::Tensor compute = parameters_.compute(group);
  auto* copy = compute.is_same(parameters_.master(group))
                   ? nullptr
                   : static_cast<std::byte*>(compute.mutable_data_ptr());
  std::vector<AdamWPiece> pieces;
  for (const ParamSpec& spec : parameters_.layout(group).params) {
    const ElementRange part =
        intersect(own, {.begin = spec.offset, .end = spec.offset + spec.count});
    if (part.size() == 0) continue;
    const int64_t at = part.begin - own.begin;
    pieces.push_back({.gradient = g + part.begin,
                      .master = p + part.begin,
                      .exp_avg = m + at,
                      .exp_avg_sq = v + at,
                      .copy = copy ? copy + part.begin * compute.element_size() : nullptr,
                      .count = part.size(),
                      .decay = spec.decay ? lr * config_.weight_decay : 0});
  }
  return parameters_.ops().adamw(pieces, factors, compute.scalar_type());
}

}  // namespace kente
