#include "csrc/nn/ops/half_gemm.h"

#include <algorithm>
#include <limits>
#include <string>

#include "csrc/base/errors.h"

// MKL's bf16 x bf16 -> f32 product and that of f16, which libtorch_cpu carries and exports: at::mm
// would round the result, and a weight gradient with it. The enumerators are those of CBLAS.
extern "C" void cblas_gemm_bf16bf16f32(int layout, int transpose_a, int transpose_b, int m, int n,
                                       int k, float alpha, const void* a, int lda, const void* b,
                                       int ldb, float beta, float* c, int ldc);
extern "C" void cblas_gemm_f16f16f32(int layout, int transpose_a, int transpose_b, int m, int n,
                                     int k, float alpha, const void* a, int lda, const void* b,
                                     int ldb, float beta, float* c, int ldc);

namespace kente {
namespace {

constexpr int kRowMajor = 101;
constexpr int kNoTranspose = 111;
constexpr int kTranspose = 112;

int blas_int(int64_t value) {
  KENTE_CHECK(value <= std::numeric_limits<int>::max(), std::to_string(value) + " for MKL's int");
  return static_cast<int>(value);
}

// On a CPU without bf16 or f16 instructions MKL widens both operands to f32 first: products are cut
// into blocks, so that this costs a bounded amount of memory. Cut by shape alone.
constexpr int64_t kGemmBlock = 4096;

/// MKL asks for the vendor before it asks for the instructions.
bool packed_is_faster() {
#if defined(__x86_64__)
  static const bool faster =
      has_gemm_half_packed() && __builtin_cpu_supports("avx512bf16") && !__builtin_cpu_is("intel");
  return faster;
#else
  return false;
#endif
}

}  // namespace

void gemm_half(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c) {
  if (a.matrix.scalar_type() == at::kBFloat16 && packed_is_faster()) {
    gemm_half_packed(a, b, add, c);
  } else {
    gemm_half_mkl(a, b, add, c);
  }
}

void gemm_half_mkl(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c) {
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  const int64_t k = a.columns();
  KENTE_CHECK(k == b.rows(), std::to_string(k) + " columns, " + std::to_string(b.rows()) + " rows");
  float* out = c.mutable_data_ptr<float>();
  const auto gemm =
      a.matrix.scalar_type() == at::kHalf ? cblas_gemm_f16f16f32 : cblas_gemm_bf16bf16f32;
  for (int64_t i = 0; i < m; i += kGemmBlock)
    for (int64_t j = 0; j < n; j += kGemmBlock)
      for (int64_t l = 0; l < k; l += kGemmBlock)
        gemm(kRowMajor, a.transposed ? kTranspose : kNoTranspose,
             b.transposed ? kTranspose : kNoTranspose, blas_int(std::min(kGemmBlock, m - i)),
             blas_int(std::min(kGemmBlock, n - j)), blas_int(std::min(kGemmBlock, k - l)), 1.0f,
             a.at(i, l), blas_int(a.stride()), b.at(l, j), blas_int(b.stride()),
             l == 0 && !add ? 0.0f : 1.0f, out + i * n + j, blas_int(n));
}

}  // namespace kente
