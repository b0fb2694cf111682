#include "csrc/data/token_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "csrc/base/rng.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

using testing::HasSubstr;

const Documents kDocuments = {{5, 6, 7, 0}, {0}, {65499, 1, 0}};

class TokenStreamTest : public testing::TestWithParam<DType> {
 protected:
  TokenStreamTest()
      : idx_(megatron_index(kDocuments, GetParam())),
        bin_(megatron_tokens(kDocuments, GetParam())) {
    write(idx_, bin_);
  }
  void write(const std::string& idx, const std::string& bin) const {
    write_bytes(prefix() + ".idx", idx);
    write_bytes(prefix() + ".bin", bin);
  }
  std::string prefix() const { return directory_ / "x"; }
  std::string refusal() const {
    return refusal_of([&] { TokenStream stream(prefix()); });
  }
  template <typename T>
  std::string patched(size_t at, T value) const {
    std::string idx = idx_;
    std::memcpy(idx.data() + at, &value, sizeof(value));
    return idx;
  }

  TemporaryDirectory directory_;
  std::string idx_, bin_;
};

INSTANTIATE_TEST_SUITE_P(BothTypes, TokenStreamTest, testing::Values(DType::kU16, DType::kI32),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(TokenStreamTest, ReadsTokensAndDocuments) {
  const TokenStream stream(prefix());
  EXPECT_EQ(stream.dtype(), GetParam());
  EXPECT_EQ(stream.tokens(), 8);
  ASSERT_EQ(stream.documents(), 3);
  EXPECT_EQ(stream.document_end(0), 4);
  EXPECT_EQ(stream.document_end(1), 5);
  EXPECT_EQ(stream.document_end(2), 8);
  std::vector<int32_t> ids(8);
  stream.copy(0, 8, ids.data());
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 6, 7, 0, 0, 65499, 1, 0}));
  stream.copy(5, 2, ids.data());
  EXPECT_EQ(ids[0], 65499);
  EXPECT_THROW(stream.copy(5, 4, ids.data()), InternalError);
  EXPECT_THROW(stream.copy(-1, 1, ids.data()), InternalError);
}

TEST_P(TokenStreamTest, ReadsDocumentsOfSeveralSequences) {
  // Three sequences, one document: the borders' list is cut to {0, 3}.
  std::string idx = patched(26, uint64_t{2});
  idx.resize(idx.size() - 32);
  const int64_t borders[2] = {0, 3};
  idx.append(reinterpret_cast<const char*>(borders), sizeof(borders));
  write(idx, bin_);
  const TokenStream stream(prefix());
  ASSERT_EQ(stream.documents(), 1);
  EXPECT_EQ(stream.document_end(0), 8);
}

TEST_P(TokenStreamTest, NoTextIsAnEmptyStream) {
  write(megatron_index({}, GetParam()), "");
  const TokenStream stream(prefix());
  EXPECT_EQ(stream.tokens(), 0);
  EXPECT_EQ(stream.documents(), 0);
}

TEST_P(TokenStreamTest, EveryLengthOfACutFileIsRefused) {
  for (size_t size = 0; size < idx_.size(); ++size) {
    write(idx_.substr(0, size), bin_);
    EXPECT_THAT(refusal(), testing::StartsWith("format: " + prefix() + ".idx")) << size;
  }
  for (size_t size = 0; size < bin_.size(); ++size) {
    write(idx_, bin_.substr(0, size));
    EXPECT_THAT(refusal(), HasSubstr(prefix() + ".bin")) << size;
  }
  write(idx_ + "x", bin_);
  EXPECT_THAT(refusal(), HasSubstr("cut or changed"));
  write(idx_, bin_ + "xxxx");
  EXPECT_THAT(refusal(), HasSubstr("cut or changed"));
}

TEST_P(TokenStreamTest, HeaderOfAnotherFormatIsRefused) {
  EXPECT_THAT((write(patched(0, 'X'), bin_), refusal()), HasSubstr("not a token index"));
  EXPECT_THAT((write(patched(9, uint64_t{2}), bin_), refusal()), HasSubstr("version 2"));
  EXPECT_THAT((write(patched(17, uint8_t{5}), bin_), refusal()), HasSubstr("type code 5"));
  for (const uint64_t count : {uint64_t{0}, uint64_t{4}, uint64_t{1} << 40, uint64_t{1} << 61,
                               ~uint64_t{0}, uint64_t{1} << 63}) {
    EXPECT_THAT((write(patched(18, count), bin_), refusal()), testing::StartsWith("format: "));
    EXPECT_THAT((write(patched(26, count + 1), bin_), refusal()), testing::StartsWith("format: "));
  }
}

TEST_P(TokenStreamTest, LengthsOffsetsAndBordersOutOfBoundsAreRefused) {
  constexpr size_t kLengths = 34, kOffsets = kLengths + 12, kBorders = kOffsets + 24;
  for (const int32_t length : {-1, 0, 3, 5, 1 << 30, -(1 << 30)})
    EXPECT_THAT((write(patched(kLengths, length), bin_), refusal()), HasSubstr("sequence"))
        << length;
  for (const int64_t offset : {int64_t{-8}, int64_t{1}, int64_t{1} << 62, int64_t{-1} << 62})
    EXPECT_THAT((write(patched(kOffsets + 8, offset), bin_), refusal()), HasSubstr("sequence 1"))
        << offset;
  for (const int64_t border : {int64_t{-1}, int64_t{0}, int64_t{2}, int64_t{4}, int64_t{1} << 62})
    EXPECT_THAT((write(patched(kBorders + 8, border), bin_), refusal()), HasSubstr("border"))
        << border;
  EXPECT_THAT((write(patched(kBorders, int64_t{1}), bin_), refusal()), HasSubstr("border 0"));
  EXPECT_THAT((write(patched(kBorders + 24, int64_t{4}), bin_), refusal()), HasSubstr("border 3"));
}

TEST_P(TokenStreamTest, SequenceWithoutTokensIsRefused) {
  for (const Documents& documents : {Documents{{}, {1, 0}}, Documents{{1, 0}, {}}}) {
    write(megatron_index(documents, GetParam()), megatron_tokens(documents, GetParam()));
    EXPECT_THAT(refusal(), HasSubstr("has 0 tokens"));
  }
}

TEST_P(TokenStreamTest, RandomDamageIsRefusedOrHarmless) {
  for (uint64_t i = 0; i < 1000; ++i) {
    std::string idx = idx_;
    idx[random_bits(3, RngUse::kTest, 0, i) % idx.size()] =
        static_cast<char>(random_bits(3, RngUse::kTest, 1, i));
    write_bytes(prefix() + ".idx", idx);
    refusal_of([&] {
      const TokenStream stream(prefix());
      std::vector<int32_t> ids(static_cast<size_t>(stream.tokens()));
      stream.copy(0, stream.tokens(), ids.data());
      for (int64_t d = 0; d < stream.documents(); ++d)
        EXPECT_LE(stream.document_end(d), stream.tokens());
    });
  }
}

TEST_P(TokenStreamTest, MissingFilesAndFoldersAreNamed) {
  std::filesystem::remove(prefix() + ".bin");
  EXPECT_THAT(refusal(), HasSubstr("usage: " + prefix() + ".bin: cannot open"));
  std::filesystem::create_directory(prefix() + ".bin");
  EXPECT_THAT(refusal(), HasSubstr("not a file"));
}

}  // namespace
}  // namespace kente
