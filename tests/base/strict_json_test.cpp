#include "csrc/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& text, JsonValues values = JsonValues::kAny) {
  try {
    parse_strict_json(text, "f", {.values_are = values});
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

TEST(StrictJson, RefusesDuplicateKeysOnEveryLevel) {
  EXPECT_THAT(refusal(R"({"a": 1, "b": 2, "a": 3})"), HasSubstr("\"a\" is given twice"));
  EXPECT_THAT(refusal(R"([{"x": {"a": 1, "\u0061": 3}}])"), HasSubstr("\"a\" is given twice"));
  EXPECT_EQ(refusal(R"([{"a": 1}, {"a": 2, "b": {"a": 1}}])"), "no error");
}

TEST(StrictJson, RefusesDepthJunkAndNumbersBeyondDouble) {
  EXPECT_EQ(refusal(std::string(32, '[') + std::string(32, ']')), "no error");
  EXPECT_THAT(refusal(std::string(33, '[') + std::string(33, ']')), HasSubstr("deeper than 32"));
  EXPECT_THAT(refusal(std::string(100'000, '[')), HasSubstr("deeper than 32"));
  for (const std::string& junk :
       {std::string(), std::string(10, '\0'), std::string("{\"a\": \"\xff\"}"),
        std::string("{} {}"), std::string("{\"a\": NaN}"), std::string("{\"a\": 1e999}"),
        std::string("[1,]"), std::string("\"\\ud800\"")})
    EXPECT_THAT(refusal(junk), testing::StartsWith("f: ")) << junk;
}

TEST(StrictJson, UnsignedOnlyRefusesEveryOtherNumberAndNull) {
  EXPECT_EQ(refusal(R"({"a": [18446744073709551615, true, "x"]})", JsonValues::kUnsigned),
            "no error");
  EXPECT_THAT(refusal("[-1]", JsonValues::kUnsigned), HasSubstr("negative"));
  EXPECT_THAT(refusal("[0.5]", JsonValues::kUnsigned), HasSubstr("0.5 is not an unsigned"));
  EXPECT_THAT(refusal("[null]", JsonValues::kUnsigned), HasSubstr("null"));
  EXPECT_EQ(refusal("[null, -1, 0.5]"), "no error");
}

TEST(StrictJson, LimitsAreNamedWithTheOffsetInTheFile) {
  const auto refused = [](const JsonLimits& limits) -> std::string {
    try {
      parse_strict_json("[1, 2, 3]", "f", limits);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(refused({}), "no error");
  EXPECT_THAT(refused({.bytes = 8}), HasSubstr("9 bytes of JSON, at most 8"));
  EXPECT_THAT(refused({.values = 3}), HasSubstr("more than 3 values"));
  EXPECT_THAT(refused({.values = 3, .offset = 100}), HasSubstr("byte 109"));
}

}  // namespace
}  // namespace kente
