#include "csrc/plan/step_score.h"

#include <algorithm>

namespace kente {
namespace {

/// When each stage of a class is free, and how long it worked.
struct Clocks {
  std::vector<double> now, busy;
};

class Step {
 public:
  Step(const CostModel& model, const std::vector<PipelineClass>& classes)
      : model_(model), classes_(classes) {
    for (const PipelineClass& one : classes)
      clocks_.push_back({.now = one.run->ends, .busy = one.run->busy});
  }

  StepScore score() {
    const std::vector<ParamGroup>& layout = model_.layout();
    const size_t own = static_cast<size_t>(model_.recipe().model.num_layers());
    for (size_t layer = own; layer-- > 0;) reduce(layout[layer]);
    for (size_t tied = own; tied < layout.size(); ++tied) reduce(layout[tied]);
    double end = 0, optimizer = 0;
    for (size_t c = 0; c < classes_.size(); ++c)
      for (size_t stage = 0; stage < clocks_[c].now.size(); ++stage) {
        const double took =
            model_.optimizer_seconds(device_of(c, stage), classes_[c].run->parameters[stage]);
        clocks_[c].busy[stage] += took;
        optimizer = std::max(optimizer, took);
        end = std::max(end, clocks_[c].now[stage]);
      }
    StepScore score{.seconds = end + optimizer, .joules = {}, .price = {}};
    add_energy_and_price(score);
    return score;
  }

 private:
  int device_of(size_t c, size_t stage) const {
    return model_.ranks().device_of(classes_[c].pipelines.front()[stage]);
  }

  /// Sums a group's gradients over its holders: one stage of each pipeline, or two of a tied one.
  void reduce(const ParamGroup& group) {
    if (group.size == 0) return;
    stages_.clear();
    for (size_t c = 0; c < classes_.size(); ++c) {
      const std::vector<int>& of_layer = classes_[c].run->stage_of_layer;
      const int first = of_layer[static_cast<size_t>(group.layers.front())];
      const int last = of_layer[static_cast<size_t>(group.layers.back())];
      stages_.push_back({c, static_cast<size_t>(first)});
      if (last != first) stages_.push_back({c, static_cast<size_t>(last)});
    }
    if (stages_ != ring_stages_) {
      ring_stages_ = stages_;
      holders_.clear();
      for (const auto& [c, stage] : stages_)
        for (const std::vector<int>& pipeline : classes_[c].pipelines)
          holders_.push_back(pipeline[stage]);
      std::sort(holders_.begin(), holders_.end());
      ring_ = model_.ring(holders_);
    }
    if (ring_.ranks < 2) return;
    const double took = model_.reduce_seconds(ring_, model_.gradient_bytes() * group.size);
    double start = 0;
    for (const auto& [c, stage] : stages_) start = std::max(start, clocks_[c].now[stage]);
    for (const auto& [c, stage] : stages_) {
      clocks_[c].now[stage] = start + took;
      clocks_[c].busy[stage] += took;
    }
  }

  void add_energy_and_price(StepScore& score) const {
    double joules = 0, price = 0;
    bool has_watts = true, has_price = true;
    for (size_t c = 0; c < classes_.size(); ++c)
      for (size_t stage = 0; stage < clocks_[c].busy.size(); ++stage) {
        const DeviceProfile& device =
            model_.cluster().devices[static_cast<size_t>(device_of(c, stage))];
        const auto count = static_cast<double>(classes_[c].pipelines.size());
        const double busy = clocks_[c].busy[stage];
        has_watts = has_watts && device.busy_watts && device.idle_watts;
        has_price = has_price && device.price_per_hour;
        joules += count * (busy * device.busy_watts.value_or(0) +
                           (score.seconds - busy) * device.idle_watts.value_or(0));
        price += count * score.seconds / 3600 * device.price_per_hour.value_or(0);
      }
    if (has_watts) score.joules = joules;
    if (has_price) score.price = price;
  }

  const CostModel& model_;
  const std::vector<PipelineClass>& classes_;
  std::vector<Clocks> clocks_;
  std::vector<std::pair<size_t, size_t>> stages_, ring_stages_;  // (class, stage)
  std::vector<int> holders_;
  CostModel::Ring ring_;
};

}  // namespace

StepScore score_step(const CostModel& model, const std::vector<PipelineClass>& classes) {
  return Step(model, classes).score();
}

}  // namespace kente
