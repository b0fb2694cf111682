#pragma once

#include <string>

#include "csrc/plan/planner.h"

namespace kente {

/// Why no plan fits: the nearest pipeline, which ranks lack how many bytes, and the changes that
/// would each be enough, every one of them tried: more memory there, more devices of a kind, fewer
/// samples a grain. One line.
std::string why_nothing_fits(const CostModel& model, const PlanOptions& options);

/// The pipeline that lacks least memory over all ranks, and by how much each of its ranks does.
struct NearestPipeline {
  std::vector<int> ranks, blocks;
  std::vector<int64_t> bytes, lacking;  // per stage
  int64_t total_lacking = 0;
};
NearestPipeline nearest_pipeline(const CostModel& model, const PlanOptions& options);

}  // namespace kente
