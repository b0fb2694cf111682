#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/faulty_file_system.h"

namespace kente {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPage = 4096;

/// A shard of two chunks and a bit: 17 MiB in three tensors, the second one across a chunk's
/// border.
class LargeShard : public ::testing::Test {
 protected:
  LargeShard()
      : state_({{"first", DType::kF32, {1 << 20}},
                {"second", DType::kF32, {3, 1 << 20}},
                {"third", DType::kU8, {1 << 20}}},
               1) {
    manifest_.step = 1;
    manifest_.shards.push_back(
        write_shard(files_, "/c", "a", "rank-0000.safetensors", state_.tensors()));
    write_manifest(files_, "/c", "a", manifest_);
    commit(files_, "/c", "a", 1);
    path_ = "/c/" + step_directory(1) + "/rank-0000.safetensors";
  }
  const Shard& shard() const { return manifest_.shards[0]; }

  FaultyFileSystem files_;
  SmallState state_;
  CheckpointManifest manifest_;
  std::string path_;
};

TEST_F(LargeShard, TensorsComeBackInAnyOrder) {
  ASSERT_EQ(shard().chunk_xxh3.size(), 3u);
  const ShardReader reader(files_, path_, shard());
  for (const size_t index : {2u, 0u, 1u, 1u}) {
    const StoredTensor& tensor = shard().tensors[index];
    std::vector<char> bytes(static_cast<size_t>(tensor.bytes));
    reader.read(tensor, bytes.data());
    EXPECT_TRUE(bytes == state_.bytes_of(tensor.name)) << tensor.name;
  }
}

TEST_F(LargeShard, TensorsComeBackWhateverWasAnnounced) {
  const std::vector<StoredTensor>& tensors = shard().tensors;
  const auto whole = [&](size_t index) {
    return TensorPart{.tensor = tensors[index], .first = 0, .bytes = tensors[index].bytes};
  };
  for (const std::vector<size_t>& announced :
       {std::vector<size_t>{0, 1, 2}, {2}, {0, 2}, std::vector<size_t>{}})
    for (const std::vector<size_t>& asked : {std::vector<size_t>{0, 1, 2}, {2, 0, 1}, {1, 2, 0}}) {
      ShardReader reader(files_, path_, shard());
      std::vector<TensorPart> parts;
      parts.reserve(announced.size());
      for (const size_t index : announced) parts.push_back(whole(index));
      reader.announce(parts);
      for (const size_t index : asked) {
        std::vector<char> bytes(static_cast<size_t>(tensors[index].bytes));
        reader.read(tensors[index], bytes.data());
        EXPECT_TRUE(bytes == state_.bytes_of(tensors[index].name)) << tensors[index].name;
      }
    }
}

TEST_F(LargeShard, AnAnnouncedChunkThatIsDamagedIsRefusedWhenItIsAskedFor) {
  files_.flip_bit(path_, shard().bytes - 1, 0);
  ShardReader reader(files_, path_, shard());
  const StoredTensor &first = shard().tensors[0], &last = shard().tensors[2];
  reader.announce({{.tensor = first, .first = 0, .bytes = first.bytes},
                   {.tensor = last, .first = 0, .bytes = last.bytes}});
  std::vector<char> bytes(static_cast<size_t>(first.bytes));
  reader.read(first, bytes.data());
  EXPECT_TRUE(bytes == state_.bytes_of("first"));
  EXPECT_THROW(reader.read(last, bytes.data()), FormatError);
}

TEST_F(LargeShard, ReadBackFindsOneBit) {
  EXPECT_NO_THROW(read_back(files_, path_, shard()));
  for (const int64_t byte : {int64_t{0}, kDigestChunk, shard().bytes - 1}) {
    files_.flip_bit(path_, byte, 5);
    EXPECT_THROW(read_back(files_, path_, shard()), StorageError) << byte;
    files_.flip_bit(path_, byte, 5);
  }
}

TEST_F(LargeShard, OneBitInAnyChunkIsRefusedNamingFileAndTensor) {
  std::vector<char> bytes(12 << 20);
  for (int64_t page = 0; page * kPage < shard().bytes; ++page) {
    // Every page of one tensor in a chunk is the same case: a stride that meets all of a small
    // chunk.
    const int64_t byte = std::min(page * kPage + (page * 37) % kPage, shard().bytes - 1);
    const int64_t chunk = byte / kDigestChunk * kDigestChunk;
    for (const StoredTensor& tensor : shard().tensors) {
      if (byte < tensor.offset || byte >= tensor.offset + tensor.bytes) continue;
      if (page % 173 != 0 && byte - chunk > 4 * kPage) continue;
      files_.flip_bit(path_, byte, static_cast<int>(page % 8));
      try {
        ShardReader(files_, path_, shard()).read(tensor, bytes.data());
        ADD_FAILURE() << "byte " << byte << " of " << tensor.name;
      } catch (const FormatError& refusal) {
        EXPECT_EQ(refusal.file(), path_);
        EXPECT_THAT(refusal.what(), HasSubstr("tensor " + tensor.name));
      }
      files_.flip_bit(path_, byte, static_cast<int>(page % 8));
    }
  }
}

TEST_F(LargeShard, VerifyNamesTheDamagedBytesAndTheirTensors) {
  const auto steps = list_checkpoints(files_, "/c");
  int64_t last = 0;
  const VerifyReport good =
      verify_checkpoint(files_, "/c", steps.at(0), [&](int64_t done, int64_t) {
        EXPECT_GT(done, last);
        last = done;
      });
  EXPECT_TRUE(good.problems.empty());
  EXPECT_EQ(good.files, 1);
  EXPECT_EQ(good.bytes, shard().bytes);
  EXPECT_EQ(last, shard().bytes);
  files_.flip_bit(path_, shard().bytes - 1, 0);
  const VerifyReport bad = verify_checkpoint(files_, "/c", steps.at(0));
  ASSERT_EQ(bad.problems.size(), 2u);
  EXPECT_THAT(bad.problems[0], HasSubstr(path_));
  EXPECT_THAT(bad.problems[0], HasSubstr("third"));
  EXPECT_THAT(bad.problems[1], HasSubstr("SHA-256"));
}

TEST_F(LargeShard, VerifyChecksTheHeaderAgainstTheManifest) {
  files_.flip_bit(path_, 60, 1);
  const VerifyReport report = verify_checkpoint(files_, "/c", list_checkpoints(files_, "/c").at(0));
  EXPECT_GE(report.problems.size(), 2u);
}

TEST_F(LargeShard, TensorTheManifestDoesNotNameIsNeverRead) {
  StoredTensor foreign = shard().tensors[0];
  foreign.offset += 4;
  std::vector<char> bytes(static_cast<size_t>(foreign.bytes));
  EXPECT_THROW(ShardReader(files_, path_, shard()).read(foreign, bytes.data()), InternalError);
}

TEST(ShardPages, OneBitInEveryPageIsRefusedNamingFileAndTensor) {
  FaultyFileSystem files;
  const SmallState state({{"a", DType::kF32, {100, 1024}}, {"b", DType::kBF16, {50, 1024}}}, 3);
  const Shard shard = write_shard(files, "/c", "x", "r.safetensors", state.tensors());
  const std::string path = "/c/.tmp-x/r.safetensors";
  std::vector<char> bytes(400 << 10);
  int64_t refused = 0;
  for (int64_t page = 0; page * kPage < shard.bytes; ++page) {
    const int64_t byte = std::min(page * kPage + (page * 53) % kPage, shard.bytes - 1);
    files.flip_bit(path, byte, static_cast<int>(page % 8));
    for (const StoredTensor& tensor : shard.tensors) {
      try {
        ShardReader(files, path, shard).read(tensor, bytes.data());
        ADD_FAILURE() << "page " << page;
      } catch (const FormatError& refusal) {
        EXPECT_THAT(refusal.what(), HasSubstr("tensor " + tensor.name));
        EXPECT_EQ(refusal.file(), path);
        ++refused;
      }
    }
    files.flip_bit(path, byte, static_cast<int>(page % 8));
  }
  EXPECT_EQ(refused, 2 * ((shard.bytes + kPage - 1) / kPage));
}

TEST(Shard, FileOfAnotherSizeIsRefusedAtOpening) {
  FaultyFileSystem files;
  const SmallState state(first_shard_entries(), 3);
  Shard shard = write_shard(files, "/c", "x", "r.safetensors", state.tensors());
  shard.bytes += 1;
  EXPECT_THROW(ShardReader(files, "/c/.tmp-x/r.safetensors", shard), FormatError);
}

TEST(Shard, NoTensorsMakeAShardToo) {
  FaultyFileSystem files;
  const Shard shard = write_shard(files, "/c", "x", "r.safetensors", {});
  EXPECT_TRUE(shard.tensors.empty());
  EXPECT_GT(shard.bytes, 8);
}

TEST(Shard, AttemptIdCannotLeaveTheDirectory) {
  FaultyFileSystem files;
  EXPECT_THROW(write_shard(files, "/c", "../x", "r.safetensors", {}), InternalError);
}

}  // namespace
}  // namespace kente
