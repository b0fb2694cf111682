#pragma once

#include <cstdint>

#include "csrc/base/dtype.h"

namespace kente {

/// Contiguous elements that somebody else owns; they must outlive every use of the view.
struct BufferView {
  void* data = nullptr;
  int64_t count = 0;  // elements
  DType dtype = DType::kU8;

  int64_t bytes() const { return count * size_of(dtype); }
};

}  // namespace kente
