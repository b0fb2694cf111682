#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/host/gpu.h"
#include "tests/cuda/seeded_kernels.h"

namespace kente::cuda {

constexpr unsigned kThreads = kSeededThreads;

/// A GPU with a buffer of floats that count up, and one for results.
struct Machine {
  explicit Machine(host::TurnOrder order = host::TurnOrder::kForward) : gpu(order) {
    for (unsigned i = 0; i < kThreads; ++i) in[i] = static_cast<float>(i);
  }
  cudaError_t run(Seeded kernel, unsigned blocks = 1) {
    return KENTE_LAUNCH(kernel, dim3(blocks), dim3(kThreads), 0, nullptr, Global<const float>(in),
                        Global<float>(out));
  }
  /// What the kernel is told off for.
  std::string complaint(Seeded kernel) {
    try {
      EXPECT_EQ(run(kernel), cudaSuccess);
    } catch (const host::KernelError& error) {
      return error.what();
    }
    return "nothing";
  }
  std::vector<float> results() const { return std::vector<float>(out, out + kThreads); }

  host::Gpu gpu;
  float* in = reinterpret_cast<float*>(gpu.memory().allocate("in", kThreads * sizeof(float)));
  float* out = reinterpret_cast<float*>(gpu.memory().allocate("out", kThreads * sizeof(float)));
};

/// Whether results are the same, whatever the order of turns; NaN is like nothing.
inline bool agrees(Seeded kernel, unsigned blocks = 1) {
  const auto results_of = [&](host::TurnOrder order) {
    Machine machine(order);
    EXPECT_EQ(machine.run(kernel, blocks), cudaSuccess);
    return machine.results();
  };
  const auto first = results_of(host::TurnOrder::kForward);
  return first == results_of(host::TurnOrder::kReversed) &&
         first == results_of(host::TurnOrder::kShuffled);
}

}  // namespace kente::cuda
