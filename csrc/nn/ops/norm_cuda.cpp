#include "csrc/nn/ops/gpu_ops.h"
#include "cuda/norm.h"

namespace kente {

NormOutput GpuOps::norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b, double eps) {
  const int64_t rows = x.size(0);
  NormOutput out{.y = empty(x.sizes(), x.scalar_type()), .stats = {}};
  out.stats = b.defined() ? empty({rows, 2}, at::kFloat) : empty({rows}, at::kFloat);
  const cuda::NormForward norm{.dtype = data_type(x.scalar_type()),
                               .rows = rows,
                               .width = x.size(1),
                               .eps = static_cast<float>(eps),
                               .x = x.const_data_ptr(),
                               .w = w.const_data_ptr<float>(),
                               .b = b.defined() ? b.const_data_ptr<float>() : nullptr,
                               .y = out.y.mutable_data_ptr(),
                               .stats = out.stats.mutable_data_ptr<float>()};
  check_launch(b.defined() ? cuda::layer_norm(norm, queue()) : cuda::rms_norm(norm, queue()),
               "norm");
  return out;
}

void GpuOps::norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                           const at::Tensor& residual_grad, const at::Tensor& dy,
                           const at::Tensor& grad_w, const at::Tensor& grad_b) {
  const cuda::Queue to = queue();
  const int64_t rows = x.size(0), width = x.size(1);
  const at::Tensor workspace =
      empty({cuda::norm_backward_workspace(rows, width, to.tuning)}, at::kFloat);
  const cuda::NormBackward norm{
      .dtype = data_type(x.scalar_type()),
      .rows = rows,
      .width = width,
      .x = x.const_data_ptr(),
      .stats = stats.const_data_ptr<float>(),
      .w = w.const_data_ptr<float>(),
      .dy = dy.const_data_ptr(),
      .residual_grad = residual_grad.defined() ? residual_grad.const_data_ptr() : nullptr,
      .dx = dy.mutable_data_ptr(),
      .grad_w = grad_w.mutable_data_ptr<float>(),
      .grad_b = grad_b.defined() ? grad_b.mutable_data_ptr<float>() : nullptr,
      .workspace = workspace.mutable_data_ptr<float>()};
  check_launch(
      grad_b.defined() ? cuda::layer_norm_backward(norm, to) : cuda::rms_norm_backward(norm, to),
      "norm_backward");
}

}  // namespace kente
