#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "csrc/base/rng.h"
#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// Recipe and plan share a parser, and both meet strangers' files: each text goes to both.
void expect_one_line_error(const std::string& text, const std::string& start) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  for (const std::string& error : {error_of([&] { parse_recipe(text, "f"); }),
                                   error_of([&] { parse_plan(text, "f", recipe); })}) {
    EXPECT_THAT(error, StartsWith(start));
    EXPECT_LT(error.size(), 1000u);
    for (const char c : error) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << static_cast<int>(c);
  }
}

std::string repeated(const std::string& part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

TEST(HostileText, ManyNestedBracesAreRefused) {
  expect_one_line_error(repeated("{", 100'000), "f:1:1: ");
  expect_one_line_error(repeated("model {", 100'000), "f:1:");
  expect_one_line_error(repeated("replica { stage ", 100'000), "f:1:");
  expect_one_line_error("model " + repeated("<", 100'000), "f:1:");
  expect_one_line_error("data { source: " + repeated("[", 100'000), "f:1:");
  expect_one_line_error(repeated("[a.b/c.d] {", 100'000), "f:1:");
}

TEST(HostileText, BinaryJunkIsRefused) {
  expect_one_line_error(std::string(1000, '\0'), "f:1:1: ");
  expect_one_line_error(std::string("name: \"\xff\xfe\x80") + '\0' + "\"\x01\x02", "f");
  expect_one_line_error("\x1b[2J\xc3\x28 { }", "f:1:1: ");
  std::string junk;
  for (uint64_t i = 0; i < 4096; ++i)
    junk += static_cast<char>(random_bits(1, RngUse::kTest, 0, i));
  expect_one_line_error(junk, "f");
}

TEST(HostileText, RandomDamageToARecipeIsAnErrorOrAValidRecipe) {
  for (uint64_t i = 0; i < 3000; ++i) {
    std::string text = kGpt2Recipe;
    for (uint64_t k = 0; k < 1 + i % 3; ++k)
      text[random_bits(2, RngUse::kTest, 2 * k, i) % text.size()] =
          static_cast<char>(random_bits(2, RngUse::kTest, 2 * k + 1, i));
    const std::string error = error_of([&] {
      const Recipe recipe = parse_recipe(text, "f");
      EXPECT_EQ(parse_recipe(to_text(recipe), "f"), recipe);
    });
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(HostileText, EmptyTextSaysWhatIsMissing) {
  expect_one_line_error("", "f: version is missing");
  EXPECT_THAT(error_of([] { parse_recipe("  # nothing\n", "f"); }),
              StartsWith("f: version is missing"));
}

TEST(HostileText, LongTextIsRefusedBeforeItIsParsed) {
  expect_one_line_error(std::string(static_cast<size_t>(kMaxConfigBytes) + 1, '#'), "f: 4194305");
}

TEST(HostileText, GigabyteFileIsRefusedBeforeItIsRead) {
  const TemporaryDirectory directory;
  write_bytes(directory / "big", "version: 1\n");
  std::filesystem::resize_file(directory / "big", uint64_t{1} << 30);  // a hole: no disk used
  const std::string error = error_of([&] { load_recipe(directory / "big"); });
  EXPECT_THAT(error, HasSubstr("1073741824"));
  EXPECT_THAT(error, HasSubstr("at most 4194304"));
}

TEST(HostileText, WhatIsNoFileIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_THAT(error_of([&] { load_recipe(directory.path()); }), HasSubstr("not a file"));
  EXPECT_THAT(error_of([&] { load_recipe(directory / "none"); }), HasSubstr("cannot open"));
  EXPECT_THAT(error_of([] { load_recipe("/dev/zero"); }), HasSubstr("not a file"));
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { load_recipe(directory / "fifo"); }), HasSubstr("not a file"));
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  EXPECT_THAT(error_of([&] { load_plan(directory / "none", recipe); }), HasSubstr("cannot open"));
}

}  // namespace
}  // namespace kente
