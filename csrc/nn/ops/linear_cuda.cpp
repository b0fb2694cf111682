#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "cuda/column_sum.h"

namespace kente {
namespace {

GemmMatrix matrix(const at::Tensor& x, bool transposed = false) {
  KENTE_CHECK(x.dim() == 2 && x.stride(1) == 1, "no matrix of rows");
  return {.data = x.const_data_ptr(),
          .rows = x.size(0),
          .columns = x.size(1),
          .stride = x.stride(0),
          .transposed = transposed};
}

const void* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

}  // namespace

at::Tensor GpuOps::linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                          const at::Tensor& residual) {
  at::Tensor y = empty({x.size(0), w.size(0)}, x.scalar_type());
  gemm_->run({.dtype = dtype_of(x.scalar_type()),
              .out_dtype = dtype_of(x.scalar_type()),
              .a = matrix(x),
              .b = matrix(w, true),
              .d = y.mutable_data_ptr(),
              .d_stride = y.stride(0),
              .c = data_or_null(residual),
              .bias = data_or_null(bias)});
  return y;
}

void GpuOps::logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) {
  gemm_->run({.dtype = dtype_of(x.scalar_type()),
              .out_dtype = dtype_of(x.scalar_type()),
              .a = matrix(x),
              .b = matrix(w, true),
              .d = logits.mutable_data_ptr(),
              .d_stride = logits.stride(0)});
}

at::Tensor GpuOps::linear_backward_input(const at::Tensor& dy, const at::Tensor& w) {
  at::Tensor dx = empty({dy.size(0), w.size(1)}, dy.scalar_type());
  gemm_->run({.dtype = dtype_of(dy.scalar_type()),
              .out_dtype = dtype_of(dy.scalar_type()),
              .a = matrix(dy),
              .b = matrix(w),
              .d = dx.mutable_data_ptr(),
              .d_stride = dx.stride(0)});
  return dx;
}

void GpuOps::linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                                    const at::Tensor& grad_w) {
  gemm_->run({.dtype = dtype_of(dy.scalar_type()),
              .out_dtype = DType::kF32,
              .a = matrix(dy, true),
              .b = matrix(x),
              .d = grad_w.mutable_data_ptr(),
              .d_stride = grad_w.stride(0),
              .c = grad_w.const_data_ptr()});
}

void GpuOps::add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) {
  const cuda::Queue to = queue();
  const at::Tensor workspace =
      empty({cuda::column_sum_workspace(dy.size(0), dy.size(1), to.tuning)}, at::kFloat);
  check_launch(cuda::column_sum({.dtype = data_type(dy.scalar_type()),
                                 .rows = dy.size(0),
                                 .columns = dy.size(1),
                                 .x = dy.const_data_ptr(),
                                 .sums = grad_bias.mutable_data_ptr<float>(),
                                 .workspace = workspace.mutable_data_ptr<float>()},
                                to),
               "column_sum");
}

}  // namespace kente
