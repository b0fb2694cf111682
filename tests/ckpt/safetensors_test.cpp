#include "csrc/ckpt/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "tests/ckpt/small_checkpoint.h"

namespace kente {
namespace {

using ::testing::HasSubstr;

std::string with_length(const std::string& json) {
  std::string file;
  for (int byte = 0; byte < 8; ++byte) file += static_cast<char>((json.size() >> (8 * byte)) & 255);
  return file + json;
}

/// Why a file of this header and so many bytes of tensors is refused; empty when it is not.
std::string refusal_of_header(const std::string& json, int64_t data_bytes) {
  const std::string prefix = with_length(json);
  try {
    parse_safetensors_header(prefix, static_cast<int64_t>(prefix.size()) + data_bytes, "x.st");
  } catch (const FormatError& refusal) {
    return refusal.what();
  }
  return "";
}

TEST(Safetensors, LayoutComesBackFromItsHeader) {
  const SmallState state(first_shard_entries(), 1);
  const SafetensorsLayout layout = lay_out_safetensors(state.tensors());
  EXPECT_EQ(layout.header.size() % 8, 0u);
  EXPECT_EQ(parse_safetensors_header(layout.header, layout.bytes, "x"), layout.tensors);
  for (const StoredTensor& tensor : layout.tensors)
    EXPECT_EQ(tensor.offset % size_of(tensor.dtype), 0) << tensor.name;
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(refusal_of_header(good, 8), "");
  EXPECT_THAT(refusal_of_header(good, 9), HasSubstr("belong to no tensor"));
  EXPECT_THAT(refusal_of_header(good, 7), HasSubstr("beyond the file"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
              HasSubstr("do not fill"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12),
              HasSubstr("hole"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
              HasSubstr("before they begin"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[9223372036854775807],)"
                                R"("data_offsets":[0,9223372036854775807]}})",
                                8),
              HasSubstr("too large"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],)"
                                R"("data_offsets":[0,0]}})",
                                0),
              HasSubstr("do not fill"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                                1),
              HasSubstr("twice"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                                3),
              HasSubstr("overlap"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F13","shape":[2],"data_offsets":[0,8]}})", 8),
              HasSubstr("unknown dtype"));
  EXPECT_THAT(refusal_of_header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8),
              HasSubstr("negative"));
  EXPECT_THAT(refusal_of_header("[]", 0), HasSubstr("not an object"));
  EXPECT_THAT(refusal_of_header("{\"a", 0), HasSubstr("not JSON"));
}

TEST(Safetensors, HeaderLengthIsBoundedBeforeAnythingIsRead) {
  std::string huge(8, '\xff');
  EXPECT_THROW(safetensors_header_bytes(huge, 100, "x"), FormatError);
  EXPECT_THROW(safetensors_header_bytes(with_length(std::string(50, ' ')), 40, "x"), FormatError);
  EXPECT_THROW(safetensors_header_bytes("", 0, "x"), FormatError);
  EXPECT_THROW(safetensors_header_bytes("1234567", 7, "x"), FormatError);
}

TEST(Safetensors, RefusalNamesTheByteInTheFile) {
  const std::string prefix = with_length("{\"a\":1,\"a\":2}");
  try {
    parse_safetensors_header(prefix, static_cast<int64_t>(prefix.size()), "x.st");
    FAIL();
  } catch (const FormatError& refusal) {
    EXPECT_EQ(refusal.file(), "x.st");
    EXPECT_GE(refusal.offset(), 8 + 7);
    EXPECT_LE(refusal.offset(), 8 + 11);
  }
}

}  // namespace
}  // namespace kente
