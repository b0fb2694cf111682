#include "csrc/data/canonical_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kente {
namespace {

// What Python 3.11 prints: json.dumps(v, sort_keys=True, separators=(",", ":"),
// ensure_ascii=False).
TEST(CanonicalJson, IsWhatPythonPrints) {
  const std::string text =
      R"({"b": [1, -7, 2.5, 1e-05, 0.0001, 1e15, 1e16, 123456789.123, -0.0, 5e-324,)"
      R"( 1.7976931348623157e308, 0.1, 3.0], "a": {"\u00fc": "\u00e9\"\\\/\n\t\r\b\f\u0001\u007f)"
      R"(\u2028\ud83d\ude00", "": null}, "c": [true, false, [], {}],)"
      R"( "\u00e9": 18446744073709551615, "Z": -9223372036854775808})";
  EXPECT_EQ(canonical_json(nlohmann::json::parse(text)),
            "{\"Z\":-9223372036854775808,\"a\":{\"\":null,\"\xc3\xbc\":\"\xc3\xa9\\\"\\\\/"
            "\\n\\t\\r\\b\\f\\u0001\x7f\xe2\x80\xa8\xf0\x9f\x98\x80\"},\"b\":[1,-7,2.5,1e-05,"
            "0.0001,1000000000000000.0,1e+16,123456789.123,-0.0,5e-324,1.7976931348623157e+308,"
            "0.1,3.0],\"c\":[true,false,[],{}],\"\xc3\xa9\":18446744073709551615}");
}

}  // namespace
}  // namespace kente
