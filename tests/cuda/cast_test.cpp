#include "cuda/cast.h"

#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

class CastKernel : public KernelCase,
                   public testing::WithParamInterface<std::tuple<DataType, DataType>> {};

TEST_P(CastKernel, RoundsOnceAndMovesEachElementOnce) {
  const auto [from_type, to_type] = GetParam();
  for (const int64_t count : {4096, 1, 256 + 255}) {
    const std::string n = std::to_string(count);
    const DeviceTensor from = random("from" + n, from_type, count, 3);
    const DeviceTensor to = tensor("to" + n, to_type, count);
    const CastScale op{.from_dtype = from_type,
                       .to_dtype = to_type,
                       .count = count,
                       .from = from.as(),
                       .to = to.as(),
                       .factor = 0.25f};
    ASSERT_EQ(cast_scale(op, queue_), cudaSuccess);
    Values wanted = from.values();
    for (double& value : wanted) value *= 0.25;
    // Through a tensor of that dtype, which rounds as the host does: the same to the bit.
    EXPECT_EQ(to.values(), tensor("wanted" + n, to_type, wanted).values());
    if (count % 256 != 0) continue;
    expect_moved(from, 1, 0);
    expect_moved(to, 0, 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cuda, CastKernel, testing::Combine(testing::ValuesIn(kAllTypes), testing::ValuesIn(kAllTypes)),
    [](const auto& info) {
      return name_of(std::get<0>(info.param)) + "To" + name_of(std::get<1>(info.param));
    });

}  // namespace
}  // namespace kente::cuda
