#include "csrc/data/verify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "csrc/base/hash.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Verify : public testing::Test {
 protected:
  Verify() {
    digest_ = write_source(directory_.path(), "test", learnable_documents(1, 3, 40, 96), {{4}}, 96);
  }
  std::string refusal(const Recipe& recipe) const {
    return refusal_of([&] { open_sources(recipe, directory_.path(), SourcePart::kTrain); });
  }
  std::string refusal() const { return refusal(one_source_recipe()); }
  std::string bin() const { return directory_ / "test.train.bin"; }

  TemporaryDirectory directory_;
  std::string digest_;
};

TEST_F(Verify, GoodFilesAreOpened) {
  const auto sources = open_sources(one_source_recipe(), directory_.path(), SourcePart::kTrain);
  ASSERT_EQ(sources.size(), 1u);
  EXPECT_EQ(sources[0].tokens.tokens(), 3 * 41);
  const auto held_back =
      open_sources(one_source_recipe(), directory_.path(), SourcePart::kValidation);
  EXPECT_EQ(held_back[0].tokens.tokens(), 2);
}

TEST_F(Verify, SourceOfAnotherDigestIsRefused) {
  Recipe recipe = one_source_recipe();
  recipe.data.sources[0].digest = digest_;
  EXPECT_EQ(refusal(recipe), "no error");
  recipe.data.sources[0].digest = std::string(64, 'a');
  EXPECT_THAT(refusal(recipe), StartsWith("usage: "));
  EXPECT_THAT(refusal(recipe), HasSubstr(digest_));
}

TEST_F(Verify, AnotherTokenizerOrVocabularyIsRefused) {
  Recipe recipe = one_source_recipe();
  recipe.data.tokenizer_digest = std::string(64, '0');
  EXPECT_EQ(refusal(recipe), "no error");
  recipe.data.tokenizer_digest = std::string(64, '1');
  EXPECT_THAT(refusal(recipe), HasSubstr("tokenizer"));
  recipe = one_source_recipe();
  recipe.model.vocab_size = 95;
  EXPECT_THAT(refusal(recipe), HasSubstr("vocab_size is 96; allowed: at most"));
  recipe.model.vocab_size = 128;
  EXPECT_EQ(refusal(recipe), "no error") << "the model's vocabulary may be padded";
}

TEST_F(Verify, SourcesOfUnlikeTokenizersAreRefused) {
  const std::string other = directory_ / "other.manifest.json";
  std::string manifest = replaced(read_bytes(directory_ / "test.manifest.json"), "\"id\":\"test\"",
                                  "\"id\":\"other\"");
  manifest = replaced(manifest, std::string(64, '0'), std::string(64, '1'));
  manifest = replaced(manifest, "\"digest\":\"" + digest_ + "\",", "");
  const std::string digest = sha256_hex(manifest);
  write_bytes(other, replaced(manifest, "\"end_of_document\"",
                              "\"digest\":\"" + digest + "\",\"end_of_document\""));
  Recipe recipe = one_source_recipe();
  recipe.data.sources.push_back({.id = "other", .digest = "", .weight = 1});
  EXPECT_THAT(refusal(recipe), HasSubstr("unlike tokenizers"));
}

TEST_F(Verify, EveryFlippedByteIsFoundAndTheFileNamed) {
  for (const std::string part : {".bin", ".idx"}) {
    const std::string path = directory_ / ("test.train" + part);
    const std::string good = read_bytes(path);
    for (size_t i = 0; i < good.size(); i += 7) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1);
      write_bytes(path, bad);
      EXPECT_THAT(refusal(), StartsWith("format: " + directory_.path() + "/test.train")) << i;
    }
    write_bytes(path, good);
    EXPECT_EQ(refusal(), "no error");
  }
}

TEST_F(Verify, CutFileIsRefused) {
  const std::string good = read_bytes(bin());
  write_bytes(bin(), good.substr(0, good.size() - 2));
  EXPECT_THAT(refusal(), StartsWith("format: " + bin()));
  write_bytes(bin(), good + good.substr(0, 2));
  EXPECT_THAT(refusal(), StartsWith("format: " + bin()));
  std::filesystem::remove(bin());
  EXPECT_THAT(refusal(), StartsWith("usage: " + bin()));
}

/// Makes the files look as if they were written an hour ago.
void age(const std::string& directory) {
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    std::filesystem::last_write_time(
        entry, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
}

timespec change_time(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw StorageError(path);
  return status.st_ctim;
}

/// Returns once the file system's clock has moved past the file's last change.
void await_tick(const std::string& path, const std::string& probe) {
  const timespec then = change_time(path);
  for (;;) {
    write_bytes(probe, "x");
    const timespec now = change_time(probe);
    if (now.tv_sec != then.tv_sec || now.tv_nsec != then.tv_nsec) return;
  }
}

/// Changes a byte in place and sets the file's time of writing back.
void flip_keeping_time(const std::string& path) {
  const auto before = std::filesystem::last_write_time(path);
  const int fd = ::open(path.c_str(), O_RDWR);
  char byte = 0;
  ASSERT_EQ(::pread(fd, &byte, 1, 0), 1);
  byte = static_cast<char>(byte ^ 1);
  ASSERT_EQ(::pwrite(fd, &byte, 1, 0), 1);
  ASSERT_EQ(::close(fd), 0);
  std::filesystem::last_write_time(path, before);
}

TEST_F(Verify, FullVerificationHappensOncePerStateOfTheFiles) {
  age(directory_.path());
  EXPECT_EQ(refusal(), "no error");
  const std::string memory = directory_ / ".verified";
  const std::string once = read_bytes(memory);
  EXPECT_EQ(refusal(), "no error");
  EXPECT_EQ(read_bytes(memory), once) << "verified again";
  // A copy in the old one's place is another file: it is verified, and remembered.
  std::filesystem::copy_file(bin(), directory_ / "copy");
  std::filesystem::rename(directory_ / "copy", bin());
  age(directory_.path());
  EXPECT_EQ(refusal(), "no error");
  EXPECT_GT(read_bytes(memory).size(), once.size());
}

TEST_F(Verify, FilesWrittenJustNowAreNotRemembered) {
  EXPECT_EQ(refusal(), "no error");
  EXPECT_FALSE(std::filesystem::exists(directory_ / ".verified"));
}

TEST_F(Verify, ChangeOfAVerifiedFileIsFoundEvenIfItsTimeIsSetBack) {
  age(directory_.path());
  EXPECT_EQ(refusal(), "no error");
  const std::string remembered = read_bytes(directory_ / ".verified");
  await_tick(bin(), directory_ / "probe");
  flip_keeping_time(bin());
  EXPECT_THAT(refusal(), HasSubstr("SHA-256"));
  EXPECT_EQ(read_bytes(directory_ / ".verified"), remembered) << "a bad state is not remembered";
}

TEST_F(Verify, DamagedOrUnwritableMemoryOnlyCostsTime) {
  age(directory_.path());
  const std::string memory = directory_ / ".verified";
  write_bytes(memory, std::string("half a li"));
  EXPECT_EQ(refusal(), "no error");
  const std::string once = read_bytes(memory);
  EXPECT_EQ(refusal(), "no error");
  EXPECT_EQ(read_bytes(memory), once) << "a torn line must not swallow the next";
  std::filesystem::remove(memory);
  std::filesystem::create_directory(memory);
  EXPECT_EQ(refusal(), "no error");
}

/// A source whose digests are all right and whose text is not.
std::string refusal_of_documents(const Documents& documents, int64_t vocab_size) {
  const TemporaryDirectory directory;
  write_source(directory.path(), "test", documents, {{4}}, vocab_size);
  return refusal_of(
      [&] { open_sources(one_source_recipe(), directory.path(), SourcePart::kTrain); });
}

TEST_F(Verify, IdsBeyondTheVocabularyAreRefused) {
  EXPECT_EQ(refusal_of_documents({{1, 95}}, 96), "no error");
  EXPECT_THAT(refusal_of_documents({{1, 96}}, 96),
              HasSubstr("byte 2: token id 96; allowed: 0 to 95"));
}

std::string read_manifest_digest(const std::string& manifest) {
  const std::string before = "\"digest\":\"";
  return manifest.substr(manifest.find(before) + before.size(), 64);
}

TEST_F(Verify, DocumentWithoutItsEndIsRefused) {
  // The right bytes and digests for an index that puts the first border one token early.
  const Documents wrong = {{1, 2}, {3, 0}};
  const std::string idx = megatron_index(wrong, DType::kU16);
  const std::string tokens = megatron_tokens(wrong, DType::kU16);
  write_source(directory_.path(), "test", {{1, 2, 3}, {}}, {{4}}, 96);
  std::string manifest = read_bytes(directory_ / "test.manifest.json");
  const std::string old_idx = sha256_hex(read_bytes(directory_ / "test.train.idx"));
  const std::string old_bin = sha256_hex(read_bytes(bin()));
  write_bytes(directory_ / "test.train.idx", idx);
  write_bytes(bin(), tokens);
  manifest = replaced(manifest, old_idx, sha256_hex(idx));
  manifest = replaced(manifest, old_bin, sha256_hex(tokens));
  manifest = replaced(manifest, "\"bin_bytes\":10", "\"bin_bytes\":8");
  manifest = replaced(manifest, "\"tokens\":5", "\"tokens\":4");
  const std::string old_digest = read_manifest_digest(manifest);
  const std::string member = "\"digest\":\"" + old_digest + "\",";
  const std::string digest = sha256_hex(replaced(manifest, member, ""));
  manifest = replaced(manifest, old_digest, digest);
  write_bytes(directory_ / "test.manifest.json", manifest);
  EXPECT_THAT(refusal(), HasSubstr("document 0 ends with token 2; want end_of_document 0"));
}

}  // namespace
}  // namespace kente
