#pragma once

#include <vector>

#include "csrc/config/cluster.h"
#include "csrc/config/recipe.h"

namespace kente {

/// What made_up_cluster() varies.
struct MadeUpCluster {
  std::vector<double> speeds = {1, 1};  // one device each; block times are divided by it
  double block_seconds = 0.010;         // forward of one grain at speed 1; backwards cost the same
  double embedding_seconds = 0.001;
  double head_seconds = 0.010;
  double fixed_fraction = 0;  // of one grain's time that any micro-batch pays once
  std::vector<int64_t> grains = {1, 2, 4};
  double latency_seconds = 1e-5;
  double bytes_per_second = 1e9;
  double optimizer_seconds_per_parameter = 1e-9;
  int64_t memory_bytes = int64_t{8} << 30;
};

/// A valid profile for the recipe: devices "d0", "d1", ... on one node, all pairs linked alike.
ClusterProfile made_up_cluster(const Recipe& recipe, const MadeUpCluster& how);

}  // namespace kente
