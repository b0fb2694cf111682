#include "cuda/rope.h"

#include "csrc/nn/ops/gpu_ops.h"

namespace kente {

RopeTable GpuOps::rope_table(int64_t positions, int64_t head_dim, double theta,
                             at::ScalarType real) {
  return {from_host(make_rope_table(positions, head_dim, theta, real).cos_sin)};
}

void GpuOps::rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch,
                  const RopeTable& table, RopeDirection direction) {
  check_launch(cuda::rope({.dtype = data_type(x.scalar_type()),
                           .rows = x.size(0),
                           .heads = heads,
                           .head_dim = table.cos_sin.size(1),
                           .stride = x.size(1),
                           .x = x.mutable_data_ptr(),
                           .positions = GpuBatch::of(batch).plane(MicroBatch::kPositions),
                           .cos_sin = table.cos_sin.const_data_ptr<float>(),
                           .direction = direction == RopeDirection::kForward
                                            ? cuda::RopeDirection::kForward
                                            : cuda::RopeDirection::kBackward},
                          queue()),
               "rope");
}

}  // namespace kente
