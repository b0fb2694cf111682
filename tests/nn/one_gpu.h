#pragma once

#include <memory>

#include "csrc/nn/ops/gpu_ops.h"
#include "tests/pretend/pretend_gpu.h"

namespace kente {

/// One pretended GPU, its stream and its operations.
struct OneGpu {
  explicit OneGpu(uint64_t seed, int compute_capability = 90)
      : node(1, seed, {.compute_capability = compute_capability}) {}
  pretend::PretendGpu& gpu() { return node.gpu(0); }

  pretend::PretendNode node;
  const std::unique_ptr<Device> device = make_gpu_device(0);
  const std::unique_ptr<Stream> stream = device->make_stream(Urgency::kUsual);
  GpuOps ops{0, *device, *stream};
};

}  // namespace kente
