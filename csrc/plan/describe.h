#pragma once

#include <string>

#include "csrc/plan/mesh.h"

namespace kente {

/// The plan as a table for people, in plain ASCII: a line on the model and the step, one row a rank
/// (replica, stage, layers - blocks are numbered from 1 -, their part of the model's FLOPs, grains
/// a step, micro-batches x their grains, dtype, predicted peak memory), spares, and who sums which
/// gradients. At most 100 columns as long as a rank holds one range of layers. Ends with a line
/// feed.
std::string describe(const Recipe& recipe, const Plan& plan, const Mesh& mesh);

}  // namespace kente
