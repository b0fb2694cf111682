#include "csrc/data/canonical_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using testing::HasSubstr;

// What Python 3.11 prints: json.dumps(v, sort_keys=True, separators=(",", ":"),
// ensure_ascii=False).
TEST(CanonicalJson, IsWhatPythonPrints) {
  const std::string text =
      R"({"b": [1, -7, 2.5, 1e-05, 0.0001, 1e15, 1e16, 123456789.123, -0.0, 5e-324,)"
      R"( 1.7976931348623157e308, 0.1, 3.0], "a": {"\u00fc": "\u00e9\"\\\/\n\t\r\b\f\u0001\u007f)"
      R"(\u2028\ud83d\ude00", "": null}, "c": [true, false, [], {}],)"
      R"( "\u00e9": 18446744073709551615, "Z": -9223372036854775808})";
  EXPECT_EQ(canonical_json(parse_strict_json(text, "f")),
            "{\"Z\":-9223372036854775808,\"a\":{\"\":null,\"\xc3\xbc\":\"\xc3\xa9\\\"\\\\/"
            "\\n\\t\\r\\b\\f\\u0001\x7f\xe2\x80\xa8\xf0\x9f\x98\x80\"},\"b\":[1,-7,2.5,1e-05,"
            "0.0001,1000000000000000.0,1e+16,123456789.123,-0.0,5e-324,1.7976931348623157e+308,"
            "0.1,3.0],\"c\":[true,false,[],{}],\"\xc3\xa9\":18446744073709551615}");
}

std::string refusal(const std::string& text) {
  try {
    parse_strict_json(text, "f");
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

}  // namespace
}  // namespace kente
