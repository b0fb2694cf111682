#include "csrc/base/hash.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kente {
namespace {

// Source of the known answers: FIPS 180-2, appendix B (SHA-256); the empty digests are widely
// published.
TEST(Sha256, GivesTheStandardsAnswers) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, InPiecesEqualsWhole) {
  const std::string text(1000, 'k');
  Sha256 hash;
  for (size_t at = 0; at < text.size(); at += 7) {
    hash.update(text.data() + at, std::min<size_t>(7, text.size() - at));
  }
  EXPECT_EQ(hash.finish(), sha256_hex(text));
}

TEST(Xxh3, GivesTheReferencesAnswers) {
  EXPECT_EQ(xxh3_64("", 0), 0x2D06800538D394C2ull);
  // The reference's own sanity buffer: byte i is the top byte of a 64-bit product of primes.
  std::vector<unsigned char> buffer(2048);
  uint64_t generator = 2654435761u;
  for (unsigned char& byte : buffer) {
    byte = static_cast<unsigned char>(generator >> 56);
    generator *= 11400714785074694797ull;
  }
  EXPECT_EQ(xxh3_64(buffer.data(), 1), 0xC44BDFF4074EECDBull);
  EXPECT_EQ(xxh3_64(buffer.data(), 6), 0x27B56A84CD2D7325ull);
  EXPECT_EQ(xxh3_64(buffer.data(), 2048), 0xDD59E2C3A5F038E0ull);
}

TEST(Xxh3, SeesEveryFlippedBit) {
  std::vector<unsigned char> data(300, 0x5A);
  const uint64_t before = xxh3_64(data.data(), data.size());
  for (size_t bit = 0; bit < data.size() * 8; ++bit) {
    data[bit / 8] = static_cast<unsigned char>(data[bit / 8] ^ (1u << (bit % 8)));
    EXPECT_NE(xxh3_64(data.data(), data.size()), before) << "bit " << bit;
    data[bit / 8] = static_cast<unsigned char>(data[bit / 8] ^ (1u << (bit % 8)));
  }
}

TEST(Hex64, WritesSixteenLowerCaseDigits) {
  EXPECT_EQ(hex64(0), "0000000000000000");
  EXPECT_EQ(hex64(0xABCDEF), "0000000000abcdef");
  EXPECT_EQ(hex64(~0ull), "ffffffffffffffff");
}

}  // namespace
}  // namespace kente
