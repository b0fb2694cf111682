#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <map>

#include "csrc/data/loader.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

using testing::ElementsAreArray;

std::vector<int32_t> row(const MicroBatch& batch, MicroBatch::Field field, int64_t sample) {
  const int32_t* first = batch.plane(field) + sample * batch.length;
  return {first, first + batch.length};
}

/// Documents as one stream, each with its end.
std::vector<int32_t> stream_of(const Documents& documents) {
  std::vector<int32_t> stream;
  for (const auto& document : documents) {
    stream.insert(stream.end(), document.begin(), document.end());
    stream.push_back(kTestEndOfDocument);
  }
  return stream;
}

TEST(TrainingDataTest, SamplesAreTheWindowsOfTheStreamWithTheNextTokenAsTarget) {
  const TemporaryDirectory directory;
  const Documents documents = learnable_documents(1, 9, 37, 96);
  write_source(directory.path(), "test", documents, {{4}}, 96);
  const Recipe recipe = one_source_recipe();
  const TrainingData data(recipe, directory.path());
  const std::vector<int32_t> stream = stream_of(documents);
  const auto windows = static_cast<int64_t>(stream.size() - 1) / 16;
  for (int64_t sample = 0; sample < 2 * windows; ++sample) {
    const int64_t first = data.locate(sample).window * 16;
    const MicroBatch batch = data.load(sample, 1);
    EXPECT_THAT(row(batch, MicroBatch::kTokens, 0),
                ElementsAreArray(stream.begin() + first, stream.begin() + first + 16));
    EXPECT_THAT(row(batch, MicroBatch::kTargets, 0),
                ElementsAreArray(stream.begin() + first + 1, stream.begin() + first + 17));
    EXPECT_THAT(row(batch, MicroBatch::kLossMask, 0), testing::Each(1));
  }
  EXPECT_DOUBLE_EQ(data.epochs(2 * windows), 2);
  EXPECT_EQ(data.manifests().at(0).id, "test");
}

TEST(TrainingDataTest, ABatchIsItsSamplesOneByOne) {
  const TemporaryDirectory directory;
  write_source(directory.path(), "test", learnable_documents(1, 9, 37, 96), {{4}}, 96);
  const TrainingData data(one_source_recipe(), directory.path());
  const MicroBatch batch = data.load(5, 7);
  for (int64_t i = 0; i < 7; ++i)
    for (const auto field : {MicroBatch::kTokens, MicroBatch::kTargets, MicroBatch::kLossMask,
                             MicroBatch::kPositions, MicroBatch::kDocuments})
      EXPECT_EQ(row(batch, field, i), row(data.load(5 + i, 1), field, 0));
}

// One window: 1 2 0 3 0 4 5 | 6.
MicroBatch bordered_sample(bool stop_at_documents) {
  const TemporaryDirectory directory;
  write_source(directory.path(), "test", {{1, 2}, {3}, {4, 5, 6}}, {{4}}, 96);
  Recipe recipe = one_source_recipe();
  recipe.sequence_length = 7;
  recipe.data.stop_at_documents = stop_at_documents;
  return TrainingData(recipe, directory.path()).load(0, 1);
}

TEST(TrainingDataTest, BordersAreNumberedAndCrossedUnlessTheRecipeStopsThere) {
  const MicroBatch batch = bordered_sample(false);
  EXPECT_THAT(row(batch, MicroBatch::kTokens, 0), ElementsAreArray({1, 2, 0, 3, 0, 4, 5}));
  EXPECT_THAT(row(batch, MicroBatch::kTargets, 0), ElementsAreArray({2, 0, 3, 0, 4, 5, 6}));
  EXPECT_THAT(row(batch, MicroBatch::kDocuments, 0), ElementsAreArray({0, 0, 0, 1, 1, 2, 2}));
  EXPECT_THAT(row(batch, MicroBatch::kPositions, 0), ElementsAreArray({0, 1, 2, 3, 4, 5, 6}));
  EXPECT_THAT(row(batch, MicroBatch::kLossMask, 0), ElementsAreArray({1, 1, 1, 1, 1, 1, 1}));
}

TEST(TrainingDataTest, StopAtDocumentsRestartsPositionsAndMasksTargetsAcrossBorders) {
  const MicroBatch batch = bordered_sample(true);
  EXPECT_THAT(row(batch, MicroBatch::kDocuments, 0), ElementsAreArray({0, 0, 0, 1, 1, 2, 2}));
  EXPECT_THAT(row(batch, MicroBatch::kPositions, 0), ElementsAreArray({0, 1, 2, 0, 1, 0, 1}));
  EXPECT_THAT(row(batch, MicroBatch::kLossMask, 0), ElementsAreArray({1, 1, 0, 1, 0, 1, 1}));
}

TEST(TrainingDataTest, SourcesAreMixedByWeight) {
  const TemporaryDirectory directory;
  // Source "a" holds ids below 50, source "b" the others.
  write_source(directory.path(), "a", {std::vector<int32_t>(400, 7)}, {{4}}, 96);
  write_source(directory.path(), "b", {std::vector<int32_t>(400, 70)}, {{4}}, 96);
  Recipe recipe = one_source_recipe();
  recipe.data.sources = {{.id = "a", .digest = "", .weight = 3}, {.id = "b", .digest = ""}};
  const TrainingData data(recipe, directory.path());
  std::map<int, int64_t> count;
  for (int64_t sample = 0; sample < 4096; ++sample) {
    const auto at = data.locate(sample);
    ++count[at.source];
    if (sample % 64 == 0) {
      EXPECT_EQ(data.load(sample, 1).plane(MicroBatch::kTokens)[0], at.source == 0 ? 7 : 70);
    }
  }
  EXPECT_EQ(count[0], 3072);
  EXPECT_EQ(count[1], 1024);
}

TEST(TrainingDataTest, WideVocabulariesAreReadAsInt32) {
  const TemporaryDirectory directory;
  write_source(directory.path(), "test", {std::vector<int32_t>(100, 99'999)}, {{4}}, 100'000);
  Recipe recipe = one_source_recipe();
  recipe.model.vocab_size = 100'000;
  const TrainingData data(recipe, directory.path());
  EXPECT_EQ(data.load(0, 1).plane(MicroBatch::kTokens)[3], 99'999);
}

TEST(TrainingDataTest, IdsThatAppearAfterTheVerificationAreRefused) {
  const TemporaryDirectory directory;
  write_source(directory.path(), "test", learnable_documents(1, 2, 16, 96), {{4}}, 96);
  const TrainingData data(one_source_recipe(), directory.path());
  const std::string bin = directory / "test.train.bin";
  const int fd = ::open(bin.c_str(), O_WRONLY);
  const uint16_t bad = 96;
  ASSERT_EQ(::pwrite(fd, &bad, sizeof(bad), 4), 2);
  ::close(fd);
  EXPECT_THAT(refusal_of([&] { data.load(0, 8); }),
              testing::StartsWith("format: " + bin + ": byte 4: token id 96"));
}

}  // namespace
}  // namespace kente
