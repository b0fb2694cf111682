#include "cuda/quantize.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tests/cuda/kernel_case.h"

namespace kente::cuda {
namespace {

class QuantizeKernel : public KernelCase,
                       public testing::WithParamInterface<std::tuple<WireType, int64_t>> {
 protected:
  struct Wire {
    uint8_t* integers;
    float* scales;
  };
  Wire send(const DeviceTensor& values, const DeviceTensor& error, const std::string& name) {
    const auto bytes = static_cast<size_t>(wire_bytes(type_, count_));
    const Wire wire{
        array(name + ".integers", std::vector<uint8_t>(bytes)),
        array(name + ".scales", std::vector<float>(static_cast<size_t>(wire_blocks(count_))))};
    EXPECT_EQ(quantize({.type = type_,
                        .values = values.as<float>(),
                        .error = error.as<float>(),
                        .count = count_,
                        .integers = wire.integers,
                        .scales = wire.scales},
                       queue_),
              cudaSuccess);
    return wire;
  }
  Values receive(const Wire& wire, const std::string& name) {
    const DeviceTensor values = tensor(name, DataType::kF32, count_);
    EXPECT_EQ(dequantize({.type = type_,
                          .integers = wire.integers,
                          .scales = wire.scales,
                          .count = count_,
                          .values = values.as<float>()},
                         queue_),
              cudaSuccess);
    if (count_ % 512 == 0) expect_moved(values, 0, 1);
    return values.values();
  }
  /// The integer of an element, as it lies on the wire.
  int integer(const Wire& wire, size_t i) const {
    if (type_ == WireType::kInt8) return static_cast<int8_t>(wire.integers[i]);
    const int half = wire.integers[i / 2] >> (i % 2 == 0 ? 0 : 4) & 0xf;
    return half < 8 ? half : half - 16;
  }

  const WireType type_ = std::get<0>(GetParam());
  const int64_t count_ = std::get<1>(GetParam());
  const int most_ = type_ == WireType::kInt8 ? 127 : 7;
};

TEST_P(QuantizeKernel, EveryElementIsWithinHalfAStepAndTheRestStaysBehind) {
  const DeviceTensor values = random("values", DataType::kF32, count_, 0.02);
  const DeviceTensor error = random("error", DataType::kF32, count_, 1e-4);
  Values wanted = values.values();
  const Values before = error.values();
  for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += before[i];
  const Wire wire = send(values, error, "wire");
  const Values got = receive(wire, "got"), left = error.values();
  for (size_t block = 0; block < wanted.size(); block += kWireBlock) {
    const size_t end = std::min<size_t>(wanted.size(), block + kWireBlock);
    double largest = 0;
    for (size_t i = block; i < end; ++i) largest = std::max(largest, std::fabs(wanted[i]));
    const double scale = wire.scales[block / kWireBlock];
    ASSERT_NEAR(scale, largest / most_, 1e-6 * largest);
    for (size_t i = block; i < end; ++i) {
      ASSERT_EQ(integer(wire, i), std::lround(got[i] / scale)) << i;
      ASSERT_LE(std::abs(integer(wire, i)), most_);
      ASSERT_NEAR(got[i], wanted[i], scale / 2 * (1 + 1e-5)) << i;
      ASSERT_NEAR(got[i] + left[i], wanted[i], 1e-6 * largest) << i;
    }
  }
  if (count_ % 512 != 0) return;
  expect_moved(values, 1, 0);
  expect_moved(error, 1, 1);
  const host::Traffic& out = gpu_.memory().buffer("wire.integers").stores;
  EXPECT_EQ(out.bytes, wire_bytes(type_, count_));
  EXPECT_EQ(out.wide_bytes, out.bytes);
}

TEST_P(QuantizeKernel, WhatIsSentOverManyRoundsAddsUpToWhatWasMeant) {
  const DeviceTensor values = random("values", DataType::kF32, count_, 0.02);
  const DeviceTensor error = tensor("error", DataType::kF32, Values(static_cast<size_t>(count_)));
  Values sum(static_cast<size_t>(count_));
  constexpr int kRounds = 8;
  for (int round = 0; round < kRounds; ++round) {
    const std::string name = "round" + std::to_string(round);
    const Values got = receive(send(values, error, name), name);
    for (size_t i = 0; i < got.size(); ++i) sum[i] += got[i];
  }
  const Values meant = values.values(), left = error.values();
  for (size_t i = 0; i < sum.size(); ++i)
    ASSERT_NEAR(sum[i] + left[i], kRounds * meant[i], 1e-6) << i;
}

TEST_P(QuantizeKernel, ABlockThatIsNotFiniteIsSeenByTheReceiverAndKeepsNothing) {
  const DeviceTensor values = random("values", DataType::kF32, count_);
  Values changed = values.values();
  changed[70] = NAN;
  for (size_t i = 0; i < kWireBlock; ++i) changed[i] = 0;
  values.set(changed);
  const DeviceTensor error = tensor("error", DataType::kF32, Values(static_cast<size_t>(count_)));
  const Wire wire = send(values, error, "wire");
  EXPECT_EQ(wire.scales[0], 0) << "zeros";
  EXPECT_TRUE(std::isnan(wire.scales[1]));
  const Values got = receive(wire, "got"), left = error.values();
  EXPECT_EQ(got[5], 0);
  EXPECT_TRUE(std::isnan(got[70]) && std::isnan(got[100]));
  EXPECT_EQ(left[100], 0);
  EXPECT_FALSE(std::isnan(got[130]));
}

std::string name_of_quantize(const testing::TestParamInfo<QuantizeKernel::ParamType>& info) {
  const auto [type, count] = info.param;
  return std::string(type == WireType::kInt8 ? "Int8" : "Int4") + "Count" + std::to_string(count);
}

INSTANTIATE_TEST_SUITE_P(Cuda, QuantizeKernel,
                         testing::Combine(testing::Values(WireType::kInt8, WireType::kInt4),
                                          testing::Values(4096, 512 + 256 + 64 + 13)),
                         name_of_quantize);

}  // namespace
}  // namespace kente::cuda
