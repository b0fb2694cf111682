#include "csrc/device/gemm.h"
#include "tests/pretend/device_work.h"

namespace kente {
namespace {

using pretend::DeviceArray;

class PretendGemm : public Gemm {
 public:
  explicit PretendGemm(Stream& stream) : stream_(static_cast<cudaStream_t>(stream.native())) {}

  void run(const GemmCall& call) override {
    const GemmSizes sizes = sizes_of(call);
    pretend::PretendGpu& gpu = pretend::PretendNode::current()->gpu(stream_->gpu);
    pretend::queue_work(stream_, "a matrix product", [=, &gpu] {
      const DeviceArray a = factor(gpu, call.dtype, call.a), b = factor(gpu, call.dtype, call.b);
      const auto result = [&](const void* data) {
        return DeviceArray(gpu, call.out_dtype, const_cast<void*>(data), {sizes.m, sizes.n},
                           {call.d_stride, 1});
      };
      const DeviceArray d = result(call.d);
      const DeviceArray c = result(call.c == nullptr ? call.d : call.c);
      const DeviceArray bias(gpu, call.out_dtype,
                             const_cast<void*>(call.bias == nullptr ? call.d : call.bias),
                             {sizes.n}, {1});
      for (int64_t i = 0; i < sizes.m; ++i)
        for (int64_t j = 0; j < sizes.n; ++j) {
          double sum = 0;
          for (int64_t l = 0; l < sizes.k; ++l) sum += a.get({i, l}) * b.get({l, j});
          if (call.bias != nullptr) sum += bias.get({j});
          if (call.c != nullptr) sum += c.get({i, j});
          d.set({i, j}, sum);
        }
    });
  }

 private:
  /// As it is multiplied.
  static DeviceArray factor(pretend::PretendGpu& gpu, DType dtype, const GemmMatrix& x) {
    void* const data = const_cast<void*>(x.data);
    if (x.transposed) return {gpu, dtype, data, {x.columns, x.rows}, {1, x.stride}};
    return {gpu, dtype, data, {x.rows, x.columns}, {x.stride, 1}};
  }

  const cudaStream_t stream_;
};

}  // namespace

std::unique_ptr<Gemm> make_gemm(Device&, Stream& stream) {
  return std::make_unique<PretendGemm>(stream);
}

}  // namespace kente
