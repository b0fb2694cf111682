#pragma once

#include <vector>

namespace kente {

/// Ways to cut a model's blocks into stages, best first, at most count of them: those with the
/// least sum_i t_i + (m - 1) max_i t_i, where t_i = seconds[i][blocks of stage i]; infinite where
/// that is not allowed. For each bound on the dearest stage a dynamic program over (stage, blocks
/// placed) finds the least sum: O(stages x blocks^2) a bound, and bounds are tried from the least
/// possible one upwards until they alone cost too much. Empty when no split is allowed.
/// borders: where another pipeline is cut, in blocks before the cut. With as many stages or more
/// the split is cut there too, with fewer only there: layers that ranks share come in the same
/// runs.
std::vector<std::vector<int>> split_blocks(const std::vector<std::vector<double>>& seconds,
                                           int blocks, double micro_batches, int count,
                                           const std::vector<int>& borders = {});

/// The least possible dearest stage, infinite when no split is allowed.
double least_bottleneck(const std::vector<std::vector<double>>& seconds, int blocks);

}  // namespace kente
