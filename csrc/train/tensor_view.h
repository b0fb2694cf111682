#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "csrc/base/buffer_view.h"
#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"

namespace kente {

/// A contiguous tensor's elements; the tensor must outlive the view.
inline BufferView view_of(const at::Tensor& tensor) {
  KENTE_CHECK(tensor.is_contiguous(), "tensor not contiguous");
  return {
      .data = tensor.data_ptr(), .count = tensor.numel(), .dtype = dtype_of(tensor.scalar_type())};
}

}  // namespace kente
