#pragma once

#include <optional>
#include <vector>

#include "csrc/plan/pipeline_run.h"

namespace kente {

/// Pipelines that do the same on alike devices: one run stands for all of them.
struct PipelineClass {
  std::vector<std::vector<int>> pipelines;  // each the ranks of its stages
  const PipelineRun* run = nullptr;         // not owned
};

struct StepScore {
  double seconds = 0;
  std::optional<double> joules, price;  // empty where a used device has no watts, no price
};

/// What a step of these pipelines costs together: each class's run, then the gradients' collectives
/// over the ranks that really hold a layer, then the optimizer. Equal to predict() of the plan
/// written out, at the price of one pipeline a class.
StepScore score_step(const CostModel& model, const std::vector<PipelineClass>& classes);

}  // namespace kente
