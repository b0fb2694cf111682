#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "csrc/config/recipe.h"
#include "csrc/nn/parameters.h"
#include "csrc/plan/shards.h"

namespace kente {

/// The learning rate of a step (from 1), by the recipe's warm-up and schedule.
/// Source: cosine: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5; WSD: Hu et al. 2024,
/// arXiv:2404.06395.
double learning_rate(const Recipe& recipe, int64_t step);

/// AdamW over the groups one rank holds, or its shards of them; state in f32, allocated once.
///
///   m = b1 m + (1 - b1) g      v = b2 v + (1 - b2) g^2
///   p = p (1 - lr wd) - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
///
/// Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2. Vectors do not decay.
class AdamW {
 public:
  /// shards: by group index, the elements that this rank keeps state of and updates.
  AdamW(const OptimizerConfig& config, const Parameters& parameters,
        std::vector<ElementRange> shards);
  /// All elements of every group held.
  AdamW(const OptimizerConfig& config, const Parameters& parameters);

  /// Updates the master weights of this rank's shard of a group. gradient [size] f32, of the whole
  /// group, is multiplied by factor first; step counts from 1. True where the compute copy of the
  /// shard was written as well.
  bool update(int group, const at::Tensor& gradient, float factor, double lr, int64_t step);

  /// As before the first step.
  void reset();

  /// The shard of a held group.
  const ElementRange& shard(int group) const { return shards_.at(static_cast<size_t>(group)); }
  /// First and second moment [shard(group).size()] f32, for checkpoints.
  at::Tensor exp_avg(int group) const { return exp_avg_.at(static_cast<size_t>(group)); }
  at::Tensor exp_avg_sq(int group) const { return exp_avg_sq_.at(static_cast<size_t>(group)); }

 private:
  OptimizerConfig config_;
  const Parameters& parameters_;
  std::vector<ElementRange> shards_;              // by group index
  std::vector<at::Tensor> exp_avg_, exp_avg_sq_;  // by group index; undefined when not held
};

}  // namespace kente
