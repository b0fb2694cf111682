#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/fuzz/fuzz_targets.h"

namespace kente {
namespace {

/// Changes that a file suffers, or an enemy makes, in a few places.
class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string mutate(std::string bytes, const std::string& other) {
    for (size_t change = 0; change < 1 + below(3); ++change) {
      const size_t at = below(bytes.size() + 1), length = below(1 + bytes.size() / 4);
      switch (below(7)) {
        case 0:
          if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        case 1:
          bytes.erase(at, length);
          break;
        case 2:
          bytes.resize(at);
          break;
        case 3:
          bytes.insert(at, bytes.substr(at, length));
          break;
        case 4:
          bytes.insert(at, other.substr(std::min(at, other.size()), length));
          break;
        case 5:
          bytes.insert(at, words().at(below(words().size())));
          break;
        default:
          replace_number(bytes);
      }
    }
    return bytes;
  }

 private:
  static const std::vector<std::string>& words() {
    static const std::vector<std::string> all = {"{",
                                                 "}",
                                                 "[",
                                                 "\"",
                                                 ",",
                                                 ":",
                                                 "-1",
                                                 "1e999",
                                                 "nan",
                                                 "null",
                                                 "true",
                                                 "\\u0000",
                                                 std::string(1, '\0'),
                                                 "\xff\xfe",
                                                 "9223372036854775807",
                                                 "9223372036854775808",
                                                 "18446744073709551616",
                                                 std::string(3000, '['),
                                                 std::string(3000, '{')};
    return all;
  }
  size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }
  /// Another number in place of one that stands there.
  void replace_number(std::string& bytes) {
    const size_t begin = bytes.find_first_of("0123456789", below(bytes.size() + 1));
    if (begin == std::string::npos) return;
    const size_t end = std::min(bytes.find_first_not_of("0123456789", begin), bytes.size());
    static const std::vector<std::string> numbers = {
        "0", "1", "2147483648", "4294967296", "9223372036854775807", "99999999999999999999"};
    bytes.replace(begin, end - begin, numbers.at(below(numbers.size())));
  }

  std::mt19937 random_;
};

class Fuzz : public testing::TestWithParam<FuzzTarget> {};

TEST_P(Fuzz, TakesItsSeedsAndNoChangeOfThemGetsOutOfTheParser) {
  const FuzzTarget& target = GetParam();
  const std::vector<std::string> seeds = target.seeds();
  ASSERT_FALSE(seeds.empty());
  for (const std::string& seed : seeds) EXPECT_TRUE(target.takes(seed)) << seed;
  Mutator mutator(20261125);
  int refused = 0;
  constexpr int kChanges = 1500;
  for (int change = 0; change < kChanges; ++change) {
    const std::string& seed = seeds[static_cast<size_t>(change) % seeds.size()];
    const std::string bytes =
        mutator.mutate(seed, seeds[static_cast<size_t>(change / 7) % seeds.size()]);
    try {
      refused += !target.takes(bytes);
    } catch (const std::exception& escaped) {
      FAIL() << escaped.what() << " for change " << change << ":\n" << bytes.substr(0, 2000);
    }
  }
  EXPECT_GT(refused, 0) << "a parser that takes everything checks nothing";
}

/// Inputs that libFuzzer found new ways through a parser with, and what once broke it: see
/// tests/fuzz/corpus.
std::vector<std::filesystem::path> corpus_of(const FuzzTarget& target) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::string(KENTE_SOURCE_DIR "/tests/fuzz/corpus/") + target.name))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

TEST_P(Fuzz, NothingThatTheFuzzerFoundGetsOutOfTheParser) {
  const FuzzTarget& target = GetParam();
  const std::vector<std::filesystem::path> files = corpus_of(target);
  ASSERT_GE(files.size(), 5u);
  int refused = 0;
  for (const std::filesystem::path& file : files) {
    std::ostringstream bytes;
    bytes << std::ifstream(file, std::ios::binary).rdbuf();
    ASSERT_FALSE(bytes.str().empty()) << file;
    try {
      refused += !target.takes(bytes.str());
    } catch (const std::exception& escaped) {
      FAIL() << escaped.what() << " for " << file;
    }
  }
  EXPECT_GT(refused, 0);
}

INSTANTIATE_TEST_SUITE_P(Parsers, Fuzz, testing::ValuesIn(fuzz_targets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace kente
