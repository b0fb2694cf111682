#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kente {

/// A contiguous matrix of bf16 or f16, or what it is transposed.
struct HalfMatrix {
  const at::Tensor& matrix;
  bool transposed = false;

  int64_t rows() const { return matrix.size(transposed ? 1 : 0); }
  int64_t columns() const { return matrix.size(transposed ? 0 : 1); }
  /// Elements from one row of the matrix as it is stored to the next.
  int64_t stride() const { return matrix.size(1); }
  /// Where the element stands.
  const uint16_t* at(int64_t row, int64_t column) const {
    return static_cast<const uint16_t*>(matrix.const_data_ptr()) +
           (transposed ? column * stride() + row : row * stride() + column);
  }
};

/// c = a b, or c + a b where add is set. a [m, k] and b [k, n] of one type, c [m, n] f32,
/// contiguous. Products are summed in f32; the bits of a row do not depend on how many rows there
/// are. By whichever library has instructions for it on this CPU.
void gemm_half(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c);

/// By MKL. It uses an Intel CPU's instructions for bf16 and f16; elsewhere it widens to f32 first.
void gemm_half_mkl(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c);

/// By oneDNN's kernel for bf16, in blocks packed here. Any CPU's instructions for bf16.
void gemm_half_packed(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c);
/// It wants AVX-512.
bool has_gemm_half_packed();

}  // namespace kente
