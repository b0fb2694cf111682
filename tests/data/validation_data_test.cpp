#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/data/loader.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

class ValidationDataTest : public testing::Test {
 protected:
  ValidationDataTest() {
    const Documents train = learnable_documents(1, 2, 40, 96);
    // 3 x 21 and 33 tokens: neither a multiple of the length, and one just above it.
    write_source(directory_.path(), "a", train, learnable_documents(2, 3, 20, 96), 96);
    write_source(directory_.path(), "b", train, learnable_documents(3, 1, 32, 96), 96);
    write_source(directory_.path(), "empty", train, {}, 96);
    recipe_ = one_source_recipe();
    recipe_.data.sources = {
        {.id = "a", .digest = ""}, {.id = "empty", .digest = ""}, {.id = "b", .digest = ""}};
  }
  TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(ValidationDataTest, EveryHeldBackTargetCountsOnceInOrder) {
  const ValidationData data(recipe_, directory_.path());
  // 62 targets and 32 targets in windows of 16.
  ASSERT_EQ(data.samples(), 4 + 2);
  std::vector<int32_t> counted[3];
  const MicroBatch batch = data.load(0, data.samples());
  for (int64_t sample = 0; sample < data.samples(); ++sample)
    for (int64_t i = 0; i < 16; ++i)
      if (batch.plane(MicroBatch::kLossMask)[sample * 16 + i])
        counted[data.source_of(sample)].push_back(
            batch.plane(MicroBatch::kTargets)[sample * 16 + i]);
  const Documents held_back[3] = {
      learnable_documents(2, 3, 20, 96), {}, learnable_documents(3, 1, 32, 96)};
  for (int source = 0; source < 3; ++source) {
    std::vector<int32_t> want;
    for (const auto& document : held_back[source]) {
      want.insert(want.end(), document.begin(), document.end());
      want.push_back(kTestEndOfDocument);
    }
    if (!want.empty()) want.erase(want.begin());  // nothing predicts the first token
    EXPECT_EQ(counted[source], want) << source;
  }
}

TEST_F(ValidationDataTest, PaddingIsMaskedInsideTheVocabularyAndThePositions) {
  for (const bool stop : {false, true}) {
    recipe_.data.stop_at_documents = stop;
    const ValidationData data(recipe_, directory_.path());
    const MicroBatch batch = data.load(3, 1);  // "a": 14 targets and 2 of padding
    EXPECT_EQ(batch.plane(MicroBatch::kLossMask)[13], 1);
    for (int64_t i = 14; i < 16; ++i) {
      EXPECT_EQ(batch.plane(MicroBatch::kLossMask)[i], 0);
      EXPECT_EQ(batch.plane(MicroBatch::kTargets)[i], kTestEndOfDocument);
    }
    for (int64_t i = 0; i < 16; ++i) {
      EXPECT_TRUE(batch.plane(MicroBatch::kPositions)[i] >= 0 &&
                  batch.plane(MicroBatch::kPositions)[i] < 16);
    }
  }
}

TEST_F(ValidationDataTest, SamplesPerSourceIsACap) {
  recipe_.validation.samples_per_source = 3;
  const ValidationData data(recipe_, directory_.path());
  EXPECT_EQ(data.samples(), 3 + 2);
  EXPECT_EQ(data.source_of(2), 0);
  EXPECT_EQ(data.source_of(3), 2);
}

TEST_F(ValidationDataTest, BytesPerTokenAreTheManifests) {
  const ValidationData data(recipe_, directory_.path());
  EXPECT_EQ(data.bytes_per_token(0), static_cast<double>(kTestBytesPerToken));
  EXPECT_EQ(data.bytes_per_token(1), 0);
}

TEST_F(ValidationDataTest, NoHeldBackTextAtAllIsRefusedUnlessNoneIsWanted) {
  recipe_.data.sources = {{.id = "empty", .digest = ""}};
  EXPECT_THAT(refusal_of([&] { ValidationData data(recipe_, directory_.path()); }),
              testing::HasSubstr("no source has held-back text"));
  recipe_.validation.every_steps = 0;
  EXPECT_EQ(ValidationData(recipe_, directory_.path()).samples(), 0);
}

}  // namespace
}  // namespace kente
