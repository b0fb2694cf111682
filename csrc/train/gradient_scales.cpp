#include "csrc/train/gradient_scales.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "csrc/base/strict_json.h"
#include "csrc/ckpt/json_reader.h"

namespace kente {

GradientScales::GradientScales(const Plan& plan) {
  for (size_t r = 0; r < plan.replicas.size(); ++r)
    for (const StagePlan& stage : plan.replicas[r].stages) {
      if (stage.compute != DType::kF16 || stage.layers.empty()) continue;
      Stage& added = stages_.emplace_back();
      added.rank = stage.ranks.front();
      added.name = "replica " + std::to_string(r) + " layers";
      for (const LayerRange& layers : stage.layers)
        added.name += " " + std::to_string(layers.first) + "-" + std::to_string(layers.last);
    }
  resume("");
}

double GradientScales::of(int rank) const {
  for (const Stage& stage : stages_)
    if (stage.rank == rank) return std::ldexp(1.0, stage.exponent);
  return 1;
}

bool GradientScales::halve(const std::vector<int64_t>& overflowed) {
  bool again = false;
  for (Stage& stage : stages_) {
    if (overflowed.at(static_cast<size_t>(stage.rank)) == 0 || stage.exponent == 0) continue;
    --stage.exponent;
    stage.clean = 0;
    again = true;
  }
  return again;
}

void GradientScales::applied() {
  for (Stage& stage : stages_) {
    if (++stage.clean < kCleanSteps || stage.exponent == kMost) continue;
    ++stage.exponent;
    stage.clean = 0;
  }
}

std::string GradientScales::state() const {
  nlohmann::json json = nlohmann::json::object();
  for (const Stage& stage : stages_) json[stage.name] = {stage.exponent, stage.clean};
  return json.dump();
}

void GradientScales::resume(const std::string& state) {
  for (Stage& stage : stages_) {
    stage.exponent = kFirst;
    stage.clean = 0;
  }
  if (state.empty()) return;
  const std::string from = "the checkpoint's gradient scales";
  const nlohmann::json json = parse_strict_json(state, from, {.bytes = 4 << 20, .depth = 3});
  const JsonReader root(json, from, "");
  for (const auto& [name, scale] : root.members()) {
    const std::vector<JsonReader> numbers = scale.items();
    if (numbers.size() != 2) scale.fail("has " + std::to_string(numbers.size()) + " elements");
    const int64_t exponent = numbers[0].integer(), clean = numbers[1].integer();
    if (exponent < 0 || exponent > kMost || clean < 0) scale.fail("is out of range");
    for (Stage& stage : stages_) {
      if (stage.name != name) continue;
      stage.exponent = static_cast<int>(exponent);
      stage.clean = clean;
    }
  }
}

}  // namespace kente
