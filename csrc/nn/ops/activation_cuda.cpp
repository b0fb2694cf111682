#include "csrc/nn/ops/gpu_ops.h"
#include "cuda/activation.h"

namespace kente {

at::Tensor GpuOps::gelu(const at::Tensor& x) {
  at::Tensor y = empty(x.sizes(), x.scalar_type());
  check_launch(cuda::gelu({.dtype = data_type(x.scalar_type()),
                           .rows = x.size(0),
                           .width = x.size(1),
                           .x = x.const_data_ptr(),
                           .y = y.mutable_data_ptr()},
                          queue()),
               "gelu");
  return y;
}

void GpuOps::gelu_backward(const at::Tensor& x, const at::Tensor& dy) {
  check_launch(cuda::gelu_backward({.dtype = data_type(x.scalar_type()),
                                    .rows = x.size(0),
                                    .width = x.size(1),
                                    .x = x.const_data_ptr(),
                                    .dy = dy.const_data_ptr(),
                                    .dx = x.mutable_data_ptr()},
                                   queue()),
               "gelu_backward");
}

at::Tensor GpuOps::swiglu(const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  at::Tensor y = empty({rows, width}, gate_up.scalar_type());
  check_launch(cuda::swiglu({.dtype = data_type(gate_up.scalar_type()),
                             .rows = rows,
                             .width = width,
                             .gate_up = gate_up.const_data_ptr(),
                             .y = y.mutable_data_ptr()},
                            queue()),
               "swiglu");
  return y;
}

void GpuOps::swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) {
  check_launch(cuda::swiglu_backward({.dtype = data_type(gate_up.scalar_type()),
                                      .rows = gate_up.size(0),
                                      .width = gate_up.size(1) / 2,
                                      .gate_up = gate_up.const_data_ptr(),
                                      .dy = dy.const_data_ptr(),
                                      .grad = gate_up.mutable_data_ptr()},
                                     queue()),
               "swiglu_backward");
}

}  // namespace kente
