#pragma once

#include <cstdint>

#include "csrc/config/cluster.h"
#include "csrc/config/recipe.h"

namespace kente {

/// A planning problem made from a seed: a small recipe and machines that are not alike.
struct PlanningCase {
  Recipe recipe;
  ClusterProfile cluster;
};

/// 2 to 4 devices of random speeds, memory, watts, prices and links, some alike; 2 to 5 blocks, 2
/// to 6 grains a step; about half reduced EXACT. Four devices come with the smallest models, so
/// that all plans can be listed.
PlanningCase random_small_case(uint64_t seed);

/// Llama-3-8B's layers, so many blocks of them, in bf16 with samples of 8,192 tokens, one a grain,
/// on devices of 8 kinds from 80 to 16 GiB whose speeds span a factor of 8: nodes of 8 with fast
/// links inside, 12.5 GB/s between them. Made up, not measured.
PlanningCase large_case(int64_t devices, int64_t blocks, int64_t grains);

/// A device whose layers take `scale` times as long as those of a device of speed 1 (a block of one
/// grain: 3 ms), with times for 1, 2 and 4 grains.
DeviceProfile made_up_device(const std::string& id, double scale, int64_t memory_bytes);

/// A link among all pairs of the cluster's devices.
void link_all(ClusterProfile& cluster, double latency_seconds, double bytes_per_second);

}  // namespace kente
