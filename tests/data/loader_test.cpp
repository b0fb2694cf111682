#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include "csrc/data/loader.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

class LoaderTest : public testing::Test {
 protected:
  LoaderTest() {
    write_source(directory_.path(), "test", learnable_documents(1, 9, 200, 96), {{4}}, 96);
    recipe_ = one_source_recipe();
    recipe_.grain_samples = 2;  // 8 grains a step
  }
  TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(LoaderTest, HandsOverTheSlicesOfEachStepInOrder) {
  const TrainingData data(recipe_, directory_.path());
  Loader loader(data, recipe_, {{.first_grain = 0, .grains = 1}, {.first_grain = 5, .grains = 3}},
                0, recipe_.steps);
  for (int64_t step = 0; step < recipe_.steps; ++step) {
    const std::vector<MicroBatch> batches = loader.next();
    ASSERT_EQ(batches.size(), 2u);
    EXPECT_EQ(batches[0].samples, 2);
    EXPECT_EQ(batches[0].fields, data.load(16 * step, 2).fields);
    EXPECT_EQ(batches[1].fields, data.load(16 * step + 10, 6).fields);
  }
  EXPECT_THROW(loader.next(), InternalError) << "the recipe ends here";
}

TEST_F(LoaderTest, ResumedLoaderGoesOnWhereItWould) {
  const TrainingData data(recipe_, directory_.path());
  Loader loader(data, recipe_, {{.first_grain = 2, .grains = 2}}, 17, recipe_.steps);
  EXPECT_EQ(loader.next().at(0).fields, data.load(16 * 17 + 4, 4).fields);
}

TEST_F(LoaderTest, UnevenSlicesTogetherAreTheStep) {
  const TrainingData data(recipe_, directory_.path());
  Loader parts(data, recipe_, {{.first_grain = 0, .grains = 5}, {.first_grain = 5, .grains = 3}}, 3,
               recipe_.steps);
  Loader whole(data, recipe_, {{.first_grain = 0, .grains = 8}}, 3, recipe_.steps);
  const auto split = parts.next();
  const auto all = whole.next();
  std::vector<int32_t> joined;
  for (const MicroBatch& batch : split)
    joined.insert(joined.end(), batch.plane(MicroBatch::kTokens),
                  batch.plane(MicroBatch::kTokens) + batch.samples * batch.length);
  const int32_t* first = all[0].plane(MicroBatch::kTokens);
  EXPECT_THAT(joined, testing::ElementsAreArray(first, first + int64_t{16} * 16));
}

TEST_F(LoaderTest, CanBeDroppedWhileItReadsAhead) {
  recipe_.steps = 1'000'000;
  const TrainingData data(recipe_, directory_.path());
  Loader loader(data, recipe_, {{.first_grain = 0, .grains = 8}}, 0, recipe_.steps);
  loader.next();
}

TEST_F(LoaderTest, WhatTheThreadMeetsIsThrownByNextAndStaysThrown) {
  const TrainingData data(recipe_, directory_.path());
  const std::string bin = directory_ / "test.train.bin";
  const int fd = ::open(bin.c_str(), O_WRONLY);
  const std::vector<uint16_t> bad(size_t{9} * 201, 999);
  ASSERT_GT(::pwrite(fd, bad.data(), 2 * bad.size(), 0), 0);
  ::close(fd);
  Loader loader(data, recipe_, {{.first_grain = 0, .grains = 8}}, 0, recipe_.steps);
  EXPECT_THROW(loader.next(), FormatError);
  EXPECT_THROW(loader.next(), FormatError);
}

}  // namespace
}  // namespace kente
