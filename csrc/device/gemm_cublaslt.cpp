#include <cublasLt.h>

#include <map>
#include <string>
#include <tuple>

#include "csrc/base/errors.h"
#include "csrc/base/unique_handle.h"
#include "csrc/device/gemm.h"

namespace kente {
namespace {

/// What cuBLASLt may use beside the matrices; its manual recommends it for Hopper, and less does
/// elsewhere.
constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(std::string(call) + ": " + cublasLtGetStatusName(status) +
                      "; resume the run, without this GPU if it happens again");
}

struct DestroyHandle {
  static cublasLtHandle_t none() { return nullptr; }
  void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
};
struct DestroyMatmul {
  static cublasLtMatmulDesc_t none() { return nullptr; }
  void operator()(cublasLtMatmulDesc_t matmul) const { cublasLtMatmulDescDestroy(matmul); }
};
struct DestroyLayout {
  static cublasLtMatrixLayout_t none() { return nullptr; }
  void operator()(cublasLtMatrixLayout_t layout) const { cublasLtMatrixLayoutDestroy(layout); }
};
struct DestroyPreference {
  static cublasLtMatmulPreference_t none() { return nullptr; }
  void operator()(cublasLtMatmulPreference_t preference) const {
    cublasLtMatmulPreferenceDestroy(preference);
  }
};
using Handle = UniqueHandle<cublasLtHandle_t, DestroyHandle>;
using Matmul = UniqueHandle<cublasLtMatmulDesc_t, DestroyMatmul>;
using Layout = UniqueHandle<cublasLtMatrixLayout_t, DestroyLayout>;
using Preference = UniqueHandle<cublasLtMatmulPreference_t, DestroyPreference>;

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    default:
      throw InternalError("a matrix product of " + std::string(name_of(dtype)));
  }
}

/// cuBLASLt's matrices are column by column: ours are their transposes.
Layout layout_of(DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check(cublasLtMatrixLayoutCreate(&layout, type_of(dtype), static_cast<uint64_t>(columns),
                                   static_cast<uint64_t>(rows), stride),
        "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

/// All that an algorithm was chosen for.
using Shape = std::tuple<DType, DType, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool,
                         bool, bool, bool>;

Shape shape_of(const GemmCall& call, const GemmSizes& sizes) {
  return {call.dtype,        call.out_dtype,    sizes.m,           sizes.n,
          sizes.k,           call.a.stride,     call.b.stride,     call.d_stride,
          call.a.transposed, call.b.transposed, call.c != nullptr, call.bias != nullptr};
}

class CublasLtGemm : public Gemm {
 public:
  CublasLtGemm(Device& device, Stream& stream)
      : stream_(stream), workspace_(device.allocate(kWorkspaceBytes)) {
    cublasLtHandle_t handle = nullptr;
    check(cublasLtCreate(&handle), "cublasLtCreate");
    handle_ = Handle(handle);
  }

  // d^T = b^T a^T: in column order the second factor comes first.
  void run(const GemmCall& call) override {
    const GemmSizes sizes = sizes_of(call);
    const Matmul matmul = matmul_of(call);
    const Layout first = layout_of(call.dtype, call.b.rows, call.b.columns, call.b.stride);
    const Layout second = layout_of(call.dtype, call.a.rows, call.a.columns, call.a.stride);
    const Layout out = layout_of(call.out_dtype, sizes.m, sizes.n, call.d_stride);
    const Shape shape = shape_of(call, sizes);
    auto known = algorithms_.find(shape);
    if (known == algorithms_.end())
      known = algorithms_.emplace(shape, choose(matmul, first, second, out)).first;
    const float alpha = 1, beta = call.c == nullptr ? 0 : 1;
    const void* c = call.c == nullptr ? call.d : call.c;
    check(cublasLtMatmul(handle_.get(), matmul.get(), &alpha, call.b.data, first.get(), call.a.data,
                         second.get(), &beta, c, out.get(), call.d, out.get(), &known->second,
                         workspace_.data(), static_cast<size_t>(workspace_.bytes()),
                         static_cast<cudaStream_t>(stream_.native())),
          "cublasLtMatmul");
  }

 private:
  static Matmul matmul_of(const GemmCall& call) {
    cublasLtMatmulDesc_t created = nullptr;
    check(cublasLtMatmulDescCreate(&created, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    Matmul matmul(created);
    const auto set = [&](cublasLtMatmulDescAttributes_t what, const auto& value) {
      check(cublasLtMatmulDescSetAttribute(created, what, &value, sizeof(value)),
            "cublasLtMatmulDescSetAttribute");
    };
    const cublasOperation_t first = call.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = call.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(CUBLASLT_MATMUL_DESC_TRANSA, first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, second);
    if (call.bias == nullptr) return matmul;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, call.bias);
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(call.out_dtype));
    return matmul;
  }

  /// Its heuristic's first choice, the same every time for the same library and GPU.
  cublasLtMatmulAlgo_t choose(const Matmul& matmul, const Layout& first, const Layout& second,
                              const Layout& out) const {
    cublasLtMatmulPreference_t created = nullptr;
    check(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate");
    const Preference preference(created);
    const auto bytes = static_cast<size_t>(workspace_.bytes());
    check(cublasLtMatmulPreferenceSetAttribute(created, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &bytes, sizeof(bytes)),
          "cublasLtMatmulPreferenceSetAttribute");
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    check(cublasLtMatmulAlgoGetHeuristic(handle_.get(), matmul.get(), first.get(), second.get(),
                                         out.get(), out.get(), created, 1, &found, &count),
          "cublasLtMatmulAlgoGetHeuristic");
    if (count == 0) throw DeviceError("cuBLASLt has no algorithm for a matrix product of this GPU");
    return found.algo;
  }

  Stream& stream_;
  const DeviceMemory workspace_;
  Handle handle_;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace

std::unique_ptr<Gemm> make_gemm(Device& device, Stream& stream) {
  return std::make_unique<CublasLtGemm>(device, stream);
}

}  // namespace kente
