#include "cuda/column_sum.h"

#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

struct SumShape {
  int64_t rows, columns;
};

class ColumnSumKernel : public KernelCase,
                        public testing::WithParamInterface<std::tuple<DataType, SumShape>> {};

TEST_P(ColumnSumKernel, AddsEveryRowOnceToWhatWasThere) {
  const auto [dtype, shape] = GetParam();
  const DeviceTensor x = random("x", dtype, shape.rows * shape.columns);
  const DeviceTensor sums = random("sums", DataType::kF32, shape.columns);
  const DeviceTensor workspace = tensor(
      "workspace", DataType::kF32, column_sum_workspace(shape.rows, shape.columns, queue_.tuning));
  Values wanted = reference::column_sums(x.values(), shape.columns);
  const Values before = sums.values();
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += before[i];
  ASSERT_EQ(column_sum({.dtype = dtype,
                        .rows = shape.rows,
                        .columns = shape.columns,
                        .x = x.as(),
                        .sums = sums.as<float>(),
                        .workspace = workspace.as<float>()},
                       queue_),
            cudaSuccess);
  expect_close(sums.values(), wanted, 1e-5);
  expect_moved(x, 1, 0);
}

std::string name_of_sum(const testing::TestParamInfo<ColumnSumKernel::ParamType>& info) {
  const auto [dtype, shape] = info.param;
  return name_of(dtype) + "Rows" + std::to_string(shape.rows) + "Columns" +
         std::to_string(shape.columns);
}

INSTANTIATE_TEST_SUITE_P(Cuda, ColumnSumKernel,
                         testing::Combine(testing::ValuesIn(kAllTypes),
                                          testing::Values(SumShape{1, 16}, SumShape{131, 272},
                                                          SumShape{70, 3072})),
                         name_of_sum);

}  // namespace
}  // namespace kente::cuda
