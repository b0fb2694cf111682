#pragma once

#include <cstdint>
#include <memory>

#include "csrc/base/dtype.h"
#include "csrc/device/device.h"

namespace kente {

/// A matrix in the device's memory, rows one after the other, stride elements apart.
struct GemmMatrix {
  const void* data = nullptr;
  int64_t rows = 0, columns = 0;
  int64_t stride = 0;
  bool transposed = false;  // what is multiplied is its transpose
};

/// d = a b + bias + c, summed in f32 and rounded once.
struct GemmCall {
  DType dtype = DType::kF32;      // of a and b: f32, f16 or bf16
  DType out_dtype = DType::kF32;  // of bias, c and d: dtype, or f32
  GemmMatrix a, b;
  void* d = nullptr;
  int64_t d_stride = 0;
  const void* c = nullptr;     // as d, and may be d; null: none
  const void* bias = nullptr;  // one for each column of d; null: none
};

/// Matrix products on one stream of a device. One thread.
class Gemm {
 public:
  virtual ~Gemm() = default;
  /// Queues it. Throws DeviceError where the device refuses, InternalError where the matrices do
  /// not go together.
  virtual void run(const GemmCall& call) = 0;
};

/// On a GPU. Both must outlive it.
std::unique_ptr<Gemm> make_gemm(Device& device, Stream& stream);

struct GemmSizes {
  int64_t m = 0, n = 0, k = 0;
};
/// Throws InternalError where the matrices do not go together.
GemmSizes sizes_of(const GemmCall& call);

}  // namespace kente
