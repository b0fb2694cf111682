#include "cuda/adamw.h"

#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

constexpr reference::AdamWRates kRates{.factor = 0.5,
                                       .beta1 = 0.9,
                                       .beta2 = 0.95,
                                       .eps = 1e-8,
                                       .step_size = 3e-3,
                                       .root_scale = 1.7,
                                       .decay = 0};

class AdamWKernel : public KernelCase,
                    public testing::WithParamInterface<std::tuple<DataType, WeightCopy>> {
 protected:
  struct Tensor {
    DeviceTensor grad, master, m, v, copy;
    double decay;
  };
  Tensor make(const std::string& name, int64_t count, double decay) {
    Tensor t{random(name + ".grad", DataType::kF32, count),
             random(name + ".master", DataType::kF32, count),
             random(name + ".m", state_, count),
             random(name + ".v", state_, count),
             tensor(name + ".copy", copy_type(), count),
             decay};
    Values squares = t.v.values();
    for (double& v : squares) v *= v;
    t.v.set(squares);
    return t;
  }
  DataType copy_type() const {
    return copy_ == WeightCopy::kF16 ? DataType::kF16 : DataType::kBF16;
  }
  static AdamWTensor seen_by_kernel(const Tensor& t) {
    return {.grad = t.grad.as<float>(),
            .master = t.master.as<float>(),
            .m = t.m.as(),
            .v = t.v.as(),
            .copy = t.copy.as(),
            .count = t.grad.count(),
            .decay = static_cast<float>(t.decay)};
  }
  cudaError_t run(const std::vector<AdamWTensor>& tensors) {
    std::vector<int64_t> counts;
    counts.reserve(tensors.size());
    for (const AdamWTensor& t : tensors) counts.push_back(t.count);
    const std::vector<TensorChunk> chunks = chunks_of(counts);
    return adamw({.state = state_,
                  .copy = copy_,
                  .tensors = array("tensors", tensors),
                  .chunks = array("chunks", chunks),
                  .chunk_count = static_cast<int64_t>(chunks.size()),
                  .factor = static_cast<float>(kRates.factor),
                  .beta1 = static_cast<float>(kRates.beta1),
                  .beta2 = static_cast<float>(kRates.beta2),
                  .eps = static_cast<float>(kRates.eps),
                  .step_size = static_cast<float>(kRates.step_size),
                  .root_scale = static_cast<float>(kRates.root_scale)},
                 queue_);
  }
  reference::AdamWState wanted(const Tensor& t) const {
    reference::AdamWRates rates = kRates;
    rates.decay = t.decay;
    return reference::adamw({t.master.values(), t.m.values(), t.v.values()}, t.grad.values(),
                            rates);
  }

  const DataType state_ = std::get<0>(GetParam());
  const WeightCopy copy_ = std::get<1>(GetParam());
};

TEST_P(AdamWKernel, UpdatesManyTensorsInOneLaunchAndMovesEachElementOnce) {
  // Whole groups, a matrix that decays; then tails of every kind.
  const std::vector<Tensor> tensors = {make("a", kChunkElements + 512, 0.01), make("b", 1, 0),
                                       make("c", 256 + 255, 0)};
  std::vector<AdamWTensor> seen;
  std::vector<reference::AdamWState> after;
  for (const Tensor& t : tensors) {
    seen.push_back(seen_by_kernel(t));
    after.push_back(wanted(t));
  }
  ASSERT_EQ(run(seen), cudaSuccess);
  EXPECT_EQ(gpu_.launches(), 1);
  for (size_t i = 0; i < tensors.size(); ++i) {
    expect_close(tensors[i].master.values(), after[i].p, 2e-6);
    expect_close(tensors[i].m.values(), after[i].m, tolerance_of(state_));
    expect_close(tensors[i].v.values(), after[i].v, tolerance_of(state_));
    if (copy_ == WeightCopy::kNone) continue;
    expect_close(tensors[i].copy.values(), after[i].p, tolerance_of(copy_type()) + 2e-6);
  }
  const Tensor& whole = tensors[0];
  expect_moved(whole.grad, 1, 0);
  for (const DeviceTensor& both : {whole.master, whole.m, whole.v}) expect_moved(both, 1, 1);
  expect_moved(whole.copy, 0, copy_ == WeightCopy::kNone ? 0 : 1);
}

std::string name_of_adamw(const testing::TestParamInfo<AdamWKernel::ParamType>& info) {
  const auto [state, copy] = info.param;
  const char* const copies[] = {"NoCopy", "F16Copy", "BF16Copy"};
  return name_of(state) + copies[static_cast<int>(copy)];
}

INSTANTIATE_TEST_SUITE_P(Cuda, AdamWKernel,
                         testing::Combine(testing::Values(DataType::kF32, DataType::kBF16),
                                          testing::Values(WeightCopy::kNone, WeightCopy::kF16,
                                                          WeightCopy::kBF16)),
                         name_of_adamw);

}  // namespace
}  // namespace kente::cuda
