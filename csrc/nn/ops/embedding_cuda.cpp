#include "cuda/embedding.h"

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {
namespace {

/// The kernels check none.
void check_ids(const BatchOnDevice& batch, MicroBatch::Field field, const at::Tensor& table) {
  const int32_t* ids = batch.host().plane(field);
  const auto [least, most] = std::minmax_element(ids, ids + batch.rows());
  KENTE_CHECK(*least >= 0 && *most < table.size(0),
              "ids " + std::to_string(*least) + " .. " + std::to_string(*most) +
                  " in an embedding of " + std::to_string(table.size(0)) + " rows");
}

}  // namespace

at::Tensor GpuOps::embedding(const at::Tensor& tokens, const at::Tensor& positions,
                             const BatchOnDevice& batch) {
  check_ids(batch, MicroBatch::kTokens, tokens);
  if (positions.defined()) check_ids(batch, MicroBatch::kPositions, positions);
  const GpuBatch& on_device = GpuBatch::of(batch);
  at::Tensor y = empty({batch.rows(), tokens.size(1)}, tokens.scalar_type());
  check_launch(cuda::embedding(
                   {.dtype = data_type(tokens.scalar_type()),
                    .rows = batch.rows(),
                    .width = tokens.size(1),
                    .table = tokens.const_data_ptr(),
                    .ids = on_device.plane(MicroBatch::kTokens),
                    .positions_table = positions.defined() ? positions.const_data_ptr() : nullptr,
                    .positions = on_device.plane(MicroBatch::kPositions),
                    .y = y.mutable_data_ptr()},
                   queue()),
               "embedding");
  return y;
}

void GpuOps::embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch,
                                MicroBatch::Field field, const at::Tensor& grad_table) {
  const cuda::IdRuns runs = cuda::runs_of(batch.host().plane(field), batch.rows());
  const at::Tensor rows = numbers(runs.rows), begins = numbers(runs.begins),
                   ids = numbers(runs.ids);
  check_launch(cuda::embedding_backward({.dtype = data_type(dy.scalar_type()),
                                         .runs = ids.numel(),
                                         .width = dy.size(1),
                                         .dy = dy.const_data_ptr(),
                                         .rows = rows.const_data_ptr<int32_t>(),
                                         .begins = begins.const_data_ptr<int32_t>(),
                                         .ids = ids.const_data_ptr<int32_t>(),
                                         .grad_table = grad_table.mutable_data_ptr<float>()},
                                        queue()),
               "embedding_backward");
}

}  // namespace kente
