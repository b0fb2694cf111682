#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/config/cluster.h"
#include "csrc/nn/ops/ops.h"

namespace kente {

struct LinkBenchOptions {
  std::vector<std::string> nodes;     // every rank's
  std::vector<std::string> ids;       // every rank's device
  std::vector<int64_t> sizes;         // bytes of the messages
  int repeats = 7;                    // of each
  std::function<void()> compute;      // what a busy rank does between two polls
  DType reduce_dtype = DType::kF32;   // of gradients
  int64_t reduce_elements = 1 << 20;  // in the all_reduce that is timed
  double timeout_seconds = 600;
  Ops* ops = &cpu_ops();            // where the buffers lie
  Communicator* tensors = nullptr;  // world for buffers there; null: world itself
};

/// A link for every pair of ranks: messages there and back, first with all else idle, then while
/// both ends compute; and all_reduce over each node and over all. Up to 16 ranks every pair is
/// measured; beyond that one pair for every two nodes and one inside each node stand for the rest.
/// A collective; every rank gets the same.
std::vector<LinkProfile> measure_links(const LinkBenchOptions& options, Communicator& world);

}  // namespace kente
