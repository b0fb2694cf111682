#pragma once

#include <vector>

#include "csrc/config/cluster.h"
#include "csrc/config/recipe.h"
#include "csrc/measure/facts.h"
#include "csrc/report/finding.h"

namespace kente {

/// What the ranks' facts alone say would hurt: other builds, libraries or recipes, mixed
/// processors, clocks apart, more ranks than cores, little memory or shared memory, interfaces that
/// mpirun may take by mistake. Pure.
std::vector<Finding> check_facts(const std::vector<RankFacts>& ranks, const Recipe& recipe);

/// What shows only once it is measured: a link far slower than its like, a rank far slower than
/// its like, a device too small. facts: by rank; cluster: one device a rank. Pure.
std::vector<Finding> check_profile(const ClusterProfile& cluster,
                                   const std::vector<RankFacts>& facts);

}  // namespace kente
