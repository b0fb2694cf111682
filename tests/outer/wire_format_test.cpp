#include "csrc/outer/wire_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

std::vector<float> normal(size_t count, uint64_t stream) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(random_normal(1, RngUse::kTest, stream, i));
  return values;
}

std::vector<double> decoded(WireFormat format, const std::vector<uint8_t>& wire, size_t count) {
  std::vector<double> sums(count);
  add_decoded(format, wire, 1, sums);
  return sums;
}

class Wire : public testing::TestWithParam<WireFormat> {
 protected:
  std::vector<uint8_t> buffer(size_t count) const {
    return std::vector<uint8_t>(
        static_cast<size_t>(wire_bytes(GetParam(), static_cast<int64_t>(count))));
  }
};

TEST_P(Wire, WhatIsSentAndWhatStaysBehindIsWhatWasThere) {
  for (const size_t count : {1, 63, 64, 65, 1000}) {
    const std::vector<float> values = normal(count, 1), before = normal(count, 2);
    std::vector<float> error = before;
    std::vector<uint8_t> wire = buffer(count);
    const WireFacts facts = encode(GetParam(), values, error, wire);
    const std::vector<double> sent = decoded(GetParam(), wire, count);
    double squares = 0, largest = 0;
    for (size_t i = 0; i < count; ++i) {
      EXPECT_NEAR(sent[i] + static_cast<double>(error[i]),
                  static_cast<double>(values[i]) + static_cast<double>(before[i]), 1e-6);
      squares += sent[i] * sent[i];
      largest = std::max(largest, std::abs(sent[i]));
    }
    EXPECT_NEAR(facts.squares, squares, 1e-9 * squares);
    EXPECT_EQ(facts.largest, largest);
    EXPECT_EQ(facts.non_finite, 0);
  }
}

// Rounding is at most half a step of the format: the error does not grow with the rounds.
TEST_P(Wire, OverManyRoundsEverythingArrives) {
  constexpr size_t kCount = 200;
  constexpr int kRounds = 50;
  const std::vector<float> values = normal(kCount, 3);
  std::vector<float> error(kCount);
  std::vector<double> sums(kCount);
  std::vector<uint8_t> wire = buffer(kCount);
  for (int round = 0; round < kRounds; ++round) {
    encode(GetParam(), values, error, wire);
    add_decoded(GetParam(), wire, 1, sums);
  }
  for (size_t i = 0; i < kCount; ++i)
    EXPECT_NEAR(sums[i] / kRounds, static_cast<double>(values[i]), 0.4 / kRounds) << i;
}

TEST_P(Wire, WhatIsNotFiniteIsSeenAndDoesNotStayBehind) {
  std::vector<float> values = normal(130, 4);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  values[100] = -std::numeric_limits<float>::infinity();
  std::vector<float> error(130);
  std::vector<uint8_t> wire = buffer(130);
  EXPECT_GE(encode(GetParam(), values, error, wire).non_finite, 2);
  std::vector<double> sums(130);
  EXPECT_GE(add_decoded(GetParam(), wire, 0.5, sums).non_finite, 2);
  for (const float left : error) EXPECT_TRUE(std::isfinite(left));
}

TEST_P(Wire, ABufferOfAnotherSizeIsRefused) {
  const std::vector<float> values = normal(100, 5);
  std::vector<uint8_t> wire = buffer(100);
  wire.push_back(0);
  EXPECT_THROW(encode(GetParam(), values, {}, wire), InternalError);
  std::vector<double> sums(100);
  EXPECT_THROW(add_decoded(GetParam(), wire, 1, sums), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Formats, Wire,
                         testing::Values(WireFormat::kF32, WireFormat::kBF16, WireFormat::kInt8,
                                         WireFormat::kInt4),
                         [](const auto& of) { return std::string(name_of(of.param)); });

TEST(WireFormats, AreAsSmallAsTheySay) {
  EXPECT_EQ(wire_bytes(WireFormat::kF32, 100), 400);
  EXPECT_EQ(wire_bytes(WireFormat::kBF16, 100), 200);
  EXPECT_EQ(wire_bytes(WireFormat::kInt8, 100), 128 + 8);
  EXPECT_EQ(wire_bytes(WireFormat::kInt4, 100), 64 + 8);
}

TEST(WireFormats, IntegersLieAsTheKernelsWriteThem) {
  // Scale 1: the largest is 7.
  std::vector<float> values(64);
  values[0] = 7;
  values[1] = -7;
  values[2] = 2;
  values[3] = -1;
  std::vector<uint8_t> wire(static_cast<size_t>(wire_bytes(WireFormat::kInt4, 64)));
  encode(WireFormat::kInt4, values, {}, wire);
  EXPECT_EQ(wire[0], 0x97);
  EXPECT_EQ(wire[1], 0xF2);
  EXPECT_EQ(wire[35], 0x3F);  // the scale's last byte: 1.0f
}

}  // namespace
}  // namespace kente
