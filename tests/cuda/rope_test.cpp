#include "cuda/rope.h"

#include <cmath>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

class RopeKernel : public KernelCase, public testing::WithParamInterface<DataType> {
 protected:
  /// cos and sin of positions that only these tests know, as the table holds them.
  Values table(int64_t positions, int64_t head_dim) {
    Values values;
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t i = 0; i < head_dim; ++i) {
        const double angle = static_cast<double>(p) * std::pow(0.9, i % (head_dim / 2));
        values.push_back(i < head_dim / 2 ? std::cos(angle) : std::sin(angle));
      }
    return values;
  }
};

TEST_P(RopeKernel, TurnsTheFirstHeadsOfEveryRowAndBack) {
  constexpr int64_t kRows = 5, kHeads = 3, kHeadDim = 64, kStride = 4 * kHeadDim;
  const DeviceTensor cos_sin = tensor("cos_sin", DataType::kF32, table(7, kHeadDim));
  const std::vector<int32_t> positions = {6, 0, 3, 3, 1};
  const DeviceTensor x = random("x", GetParam(), kRows * kStride);
  const Values before = x.values(), angles = cos_sin.values();
  Rope op{.dtype = GetParam(),
          .rows = kRows,
          .heads = kHeads,
          .head_dim = kHeadDim,
          .stride = kStride,
          .x = x.as(),
          .positions = array("positions", positions),
          .cos_sin = cos_sin.as<float>()};
  ASSERT_EQ(rope(op, queue_), cudaSuccess);
  Values wanted = before;
  for (int64_t row = 0; row < kRows; ++row) {
    const auto angle = angles.begin() + positions[static_cast<size_t>(row)] * kHeadDim;
    const auto begin = before.begin() + row * kStride;
    const Values turned = reference::rope(Values(begin, begin + kHeads * kHeadDim),
                                          Values(angle, angle + kHeadDim / 2),
                                          Values(angle + kHeadDim / 2, angle + kHeadDim), 1);
    std::copy(turned.begin(), turned.end(), wanted.begin() + row * kStride);
  }
  expect_close(x.values(), wanted, tolerance_of(GetParam()));
  const host::DeviceMemory::Buffer& moved = gpu_.memory().buffer("x");
  const int64_t turned = kRows * kHeads * kHeadDim * size_of(GetParam());
  EXPECT_EQ(moved.loads.bytes, turned);
  EXPECT_EQ(moved.loads.wide_bytes, turned);
  EXPECT_EQ(moved.stores.bytes, turned);
  EXPECT_EQ(moved.stores.wide_bytes, turned);
  EXPECT_EQ(moved.loads.sectors, moved.loads.least_sectors);
  EXPECT_EQ(gpu_.memory().buffer("cos_sin").loads.bytes, kRows * kHeadDim * 4) << "once a row";
  op.direction = RopeDirection::kBackward;
  ASSERT_EQ(rope(op, queue_), cudaSuccess);
  expect_close(x.values(), before, 3 * tolerance_of(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cuda, RopeKernel, testing::ValuesIn(kAllTypes),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace kente::cuda
