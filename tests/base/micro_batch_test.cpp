#include "csrc/base/micro_batch.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace kente {
namespace {

TEST(MicroBatch, PlanesAreDisjointAndCoverTheFields) {
  MicroBatch batch = MicroBatch::zeros(3, 4);
  constexpr MicroBatch::Field kFields[] = {MicroBatch::kTokens, MicroBatch::kTargets,
                                           MicroBatch::kLossMask, MicroBatch::kPositions,
                                           MicroBatch::kDocuments};
  int32_t value = 1;
  for (const MicroBatch::Field field : kFields) std::fill_n(batch.plane(field), 12, value++);
  ASSERT_EQ(batch.fields.size(), 60u);
  for (size_t i = 0; i < batch.fields.size(); ++i) {
    EXPECT_EQ(batch.fields[i], static_cast<int32_t>(i / 12) + 1) << "at " << i;
  }
}

TEST(MicroBatch, StartsAsZeros) {
  const MicroBatch batch = MicroBatch::zeros(2, 5);
  EXPECT_EQ(batch.samples, 2);
  EXPECT_EQ(batch.length, 5);
  EXPECT_TRUE(
      std::all_of(batch.fields.begin(), batch.fields.end(), [](int32_t v) { return v == 0; }));
}

}  // namespace
}  // namespace kente
