#include "csrc/train/loss_guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "csrc/base/errors.h"
#include "csrc/base/strict_json.h"
#include "csrc/ckpt/json_reader.h"

namespace kente {
namespace {

// Fewer steps say nothing of what is usual.
constexpr int64_t kLeastWindow = 64;
// Where losses hardly differ, what is not a noticeable part of them is no spike.
constexpr double kLeastDeviation = 0.005;
constexpr int64_t kMemory = 1000;  // steps for which a roll-back counts

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string advice() { return "lower optimizer.learning_rate, clip, or look at the data"; }

}  // namespace

LossGuard::LossGuard(const GuardConfig& config, const std::string& state) : config_(config) {
  if (state.empty()) return;
  const std::string from = "the guard's state in a checkpoint";
  const nlohmann::json json = parse_strict_json(state, from, {.bytes = 4 << 20, .depth = 4});
  const JsonReader root(json, from, "");
  root.expect_keys({"rollbacks", "skipped", "skips", "spikes", "window"});
  const auto triples = [](const JsonReader& list, size_t width, const auto& take) {
    for (const JsonReader& item : list.items()) {
      const std::vector<JsonReader> parts = item.items();
      if (parts.size() != width) item.fail("has " + std::to_string(parts.size()) + " elements");
      take(parts);
    }
  };
  triples(root.at("window"), 3, [&](const std::vector<JsonReader>& sample) {
    window_.push_back({.step = sample[0].integer(),
                       .loss = std::bit_cast<double>(sample[1].integer()),
                       .grad_norm = std::bit_cast<double>(sample[2].integer())});
  });
  triples(root.at("skips"), 2, [&](const std::vector<JsonReader>& skip) {
    skips_.push_back({.first = skip[0].integer(), .shift = skip[1].integer()});
  });
  for (const JsonReader& step : root.at("rollbacks").items()) rollbacks_.push_back(step.integer());
  spikes_ = root.at("spikes").integer();
  skipped_ = root.at("skipped").integer();
}

std::string LossGuard::state() const {
  nlohmann::json json = {{"window", nlohmann::json::array()},
                         {"skips", nlohmann::json::array()},
                         {"rollbacks", rollbacks_},
                         {"spikes", spikes_},
                         {"skipped", skipped_}};
  // The bits: a resumed guard judges as this one would. Neither is ever negative.
  for (const Sample& sample : window_)
    json["window"].push_back({sample.step, std::bit_cast<int64_t>(sample.loss),
                              std::bit_cast<int64_t>(sample.grad_norm)});
  for (const Skip& skip : skips_) json["skips"].push_back({skip.first, skip.shift});
  return json.dump();
}

std::string LossGuard::spike(const Step& step) const {
  if (static_cast<int64_t>(window_.size()) < std::min(kLeastWindow, config_.window_steps))
    return "";
  std::vector<double> losses, norms, deviations;
  losses.reserve(window_.size());
  norms.reserve(window_.size());
  deviations.reserve(window_.size());
  for (const Sample& sample : window_) {
    losses.push_back(sample.loss);
    norms.push_back(sample.grad_norm);
  }
  const double usual = median(losses), usual_norm = median(norms);
  for (const double loss : losses) deviations.push_back(std::abs(loss - usual));
  const double deviation = std::max(median(std::move(deviations)), kLeastDeviation * usual);
  if (step.loss > usual + config_.spike_factor * deviation)
    return fmt::format("loss {:.4f} where {:.4f} +- {:.4f} was usual", step.loss, usual, deviation);
  if (step.grad_norm > config_.norm_factor * usual_norm)
    return fmt::format("gradient norm {:.4g} where {:.4g} was usual", step.grad_norm, usual_norm);
  return "";
}

LossGuard::Judgement LossGuard::judge(const Step& step) {
  if (!step.applied) {
    ++skipped_;
    spikes_ = 0;
    const std::string reason = "gradients or losses that are not finite";
    if (skipped_ > config_.max_skips) return give_up_or_roll_back(step.step, skipped_, reason);
    return {.reason = reason + ": the step was not applied"};
  }
  skipped_ = 0;
  if (config_.window_steps == 0) return {};
  const std::string what = spike(step);
  if (what.empty()) {
    spikes_ = 0;
    window_.push_back({.step = step.step, .loss = step.loss, .grad_norm = step.grad_norm});
    if (static_cast<int64_t>(window_.size()) > config_.window_steps) window_.pop_front();
    return {};
  }
  if (++spikes_ < config_.spike_steps) return {.reason = what};
  return give_up_or_roll_back(step.step, spikes_, what);
}

LossGuard::Judgement LossGuard::give_up_or_roll_back(int64_t step, int64_t bad_steps,
                                                     const std::string& reason) const {
  const auto recent = std::count_if(rollbacks_.begin(), rollbacks_.end(),
                                    [&](int64_t when) { return when > step - kMemory; });
  const std::string told = fmt::format("{}, {} steps in a row", reason, bad_steps);
  if (recent >= config_.max_rollbacks)
    return {.verdict = Verdict::kStop,
            .reason = fmt::format("{}, after {} roll-backs in {} steps: {}", told, recent, kMemory,
                                  advice())};
  return {.verdict = Verdict::kRollBack,
          .at_most = rollback_point(config_, step, bad_steps),
          .reason = told};
}

void LossGuard::rolled_back(int64_t from, int64_t to) {
  const int64_t shift = data_step(from) - to;
  std::erase_if(skips_, [&](const Skip& skip) { return skip.first > to; });
  skips_.push_back({.first = to + 1, .shift = shift});
  std::erase_if(window_, [&](const Sample& sample) { return sample.step > to; });
  rollbacks_.push_back(from);
  spikes_ = skipped_ = 0;
}

int64_t LossGuard::data_step(int64_t step) const {
  for (auto skip = skips_.rbegin(); skip != skips_.rend(); ++skip)
    if (skip->first <= step) return step + skip->shift;
  return step;
}

int64_t rollback_point(const GuardConfig& config, int64_t step, int64_t bad_steps) {
  const int64_t before = std::max<int64_t>(0, step - std::max(config.rollback_steps, bad_steps));
  return before / config.rollback_steps * config.rollback_steps;
}

}  // namespace kente
