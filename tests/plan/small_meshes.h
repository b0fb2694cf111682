#pragma once

#include <functional>
#include <string>
#include <vector>

#include "csrc/plan/mesh.h"
#include "csrc/plan/simulate.h"

namespace kente {

/// A small recipe with that many blocks and grains a step.
Recipe recipe_with(int blocks, int64_t grains, bool tied);

/// Borders of a cut of num_layers into stages, as uneven as a seed makes it.
std::vector<int> uneven_borders(int num_layers, int stages, int seed);

/// One replica whose chunks go round ranks 0 .. ranks - 1, as many layers each as chunks allow.
Plan interleaved_plan(int num_layers, int ranks, int chunks, int64_t share);

/// One pipeline, each stage a rank, each micro-batch one grain.
Mesh pipeline(int stages, int micro_batches);

/// The same mesh under a plan that shards the optimizer state, unequally.
Mesh sharded(Mesh mesh);

/// Seconds of uniform stages: Forward f, BackwardInput bi, BackwardWeight bw, all else 0.
ActionCosts uniform_costs(double f, double bi, double bw);

/// Calls check for every case of 1 to 3 replicas with unlike splits, 1 to 5 stages, 1 to 9
/// micro-batches and unequal shares, tied and untied, with and without spares. The name says which
/// case it is.
void for_small_meshes(const std::function<void(const Mesh&, const std::string& name)>& check);

}  // namespace kente
