#include "csrc/ckpt/whole_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "csrc/base/errors.h"
#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class WholeCheckpointTest : public testing::Test {
 protected:
  /// A checkpoint of one tensor "w" of these values, and of others if given.
  void write(const std::string& directory, std::vector<float> values, const std::string& name = "w",
             int64_t step = 3) {
    CheckpointManifest manifest;
    manifest.step = step;
    manifest.run_id = "0123456789abcdef";
    manifest.recipe_sha256 = std::string(64, 'a');
    const auto count = static_cast<int64_t>(values.size());
    const NamedTensor tensor{.name = name,
                             .shape = {count},
                             .data = {.data = values.data(), .count = count, .dtype = DType::kF32}};
    manifest.add(write_shard(*files_, directory, "t", "rank-0000.safetensors", {tensor}));
    write_manifest(*files_, directory, "t", manifest);
    commit(*files_, directory, "t", step);
  }
  std::vector<TensorDifference> differences(const std::string& a, const std::string& b) {
    WholeCheckpoint left(*files_, {directory_ / a}, std::nullopt);
    WholeCheckpoint right(*files_, {directory_ / b}, std::nullopt);
    return compare(left, right);
  }

  TemporaryDirectory directory_;
  const std::unique_ptr<FileSystem> files_ = posix_file_system();
};

TEST_F(WholeCheckpointTest, PiecesAndWholeTensorsReadTheSame) {
  write_small_checkpoint(*files_, directory_ / "whole", 7);
  write_small_checkpoint_in_pieces(*files_, directory_ / "pieces", 7);
  EXPECT_THAT(differences("whole", "pieces"), IsEmpty());
  write_small_checkpoint(*files_, directory_ / "whole", 8);
  EXPECT_FALSE(differences("whole", "pieces").empty()) << "step 8 is another state";
}

TEST_F(WholeCheckpointTest, PartsOnTwoNodesAreOneAndWithoutOneThereIsNone) {
  const CheckpointManifest manifest = write_small_checkpoint(*files_, directory_ / "whole", 7);
  for (const int node : {0, 1}) {
    const std::string mine = directory_ / ("node" + std::to_string(node));
    std::filesystem::create_directories(mine);
    std::filesystem::copy(directory_ / "whole", mine, std::filesystem::copy_options::recursive);
    std::filesystem::remove(mine + "/" + step_directory(7) + "/" +
                            manifest.shards[static_cast<size_t>(1 - node)].file);
  }
  WholeCheckpoint both(*files_, {directory_ / "node0", directory_ / "node1"}, 7);
  WholeCheckpoint whole(*files_, {directory_ / "whole"}, std::nullopt);
  EXPECT_THAT(compare(both, whole), IsEmpty());
  EXPECT_THROW(WholeCheckpoint(*files_, {directory_ / "node0"}, std::nullopt), UsageError);
  EXPECT_THROW(WholeCheckpoint(*files_, {directory_ / "whole"}, 6), UsageError);
}

TEST_F(WholeCheckpointTest, EveryDifferenceIsFoundAndMeasured) {
  write(directory_ / "a", {1, 2, 3, 4});
  write(directory_ / "b", {1, 2.5, 3, 3});
  std::vector<TensorDifference> found = differences("a", "b");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "w");
  EXPECT_EQ(found[0].elements, 4);
  EXPECT_EQ(found[0].differing, 2);
  EXPECT_EQ(found[0].largest, 1);
  // Equal numbers of different bits differ; so does what is not finite.
  write(directory_ / "zero", {0.0F});
  write(directory_ / "minus", {-0.0F});
  EXPECT_EQ(differences("zero", "minus").at(0).differing, 1);
  EXPECT_EQ(differences("zero", "minus").at(0).largest, 0);
  write(directory_ / "nan", {std::nanf("")});
  EXPECT_TRUE(std::isinf(differences("zero", "nan").at(0).largest));
  write(directory_ / "longer", {1, 2, 3, 4, 5});
  EXPECT_EQ(differences("a", "longer").at(0).what, "other shape or type");
  write(directory_ / "other", {1, 2, 3, 4}, "v");
  found = differences("a", "other");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].what, "only in the second");
  EXPECT_EQ(found[1].what, "only in the first");
}

TEST_F(WholeCheckpointTest, ReshardedIsTheSameInAsManyShardsAsWanted) {
  write_small_checkpoint_in_pieces(*files_, directory_ / "pieces", 7);
  WholeCheckpoint from(*files_, {directory_ / "pieces"}, std::nullopt);
  for (const int64_t shards : {1, 2, 3, 40}) {
    const std::string to = "again" + std::to_string(shards);
    const CheckpointManifest manifest = reshard(from, *files_, directory_ / to, shards);
    EXPECT_EQ(static_cast<int64_t>(manifest.shards.size()), shards);
    EXPECT_EQ(manifest.version, 1) << "no pieces are left";
    EXPECT_EQ(manifest.run_id, from.manifest().run_id);
    EXPECT_EQ(manifest.state, from.manifest().state);
    EXPECT_EQ(manifest.samples, from.manifest().samples);
    EXPECT_THAT(differences("pieces", to), IsEmpty());
    EXPECT_EQ(load_newest(*files_, directory_ / to), 7);
  }
}

TEST_F(WholeCheckpointTest, ADamagedChunkIsNotCopied) {
  write(directory_ / "a", std::vector<float>(1000, 1.0F));
  const std::string file = directory_ / "a/step-000000000003/rank-0000.safetensors";
  FILE* open = std::fopen(file.c_str(), "r+");
  ASSERT_NE(open, nullptr);
  std::fseek(open, -8, SEEK_END);
  std::fputc('x', open);
  std::fclose(open);
  WholeCheckpoint from(*files_, {directory_ / "a"}, std::nullopt);
  EXPECT_THROW(reshard(from, *files_, directory_ / "b", 1), FormatError);
  EXPECT_TRUE(list_checkpoints(*files_, directory_ / "b").empty());
}

}  // namespace
}  // namespace kente
