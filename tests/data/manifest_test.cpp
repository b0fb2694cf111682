#include "csrc/data/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/base/hash.h"
#include "csrc/data/canonical_json.h"
#include "tests/data/source_fixture.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Manifest : public testing::Test {
 protected:
  Manifest() { digest_ = write_source(directory_.path(), "test", {{1, 2, 3}}, {{4}}, 96); }

  std::string path() const { return directory_ / "test.manifest.json"; }
  std::string refusal() const {
    return refusal_of([&] { read_manifest(directory_.path(), "test"); });
  }
  /// Changes the manifest and makes its digest right again, so that only the change can be refused.
  std::string refusal_after(const std::function<void(nlohmann::json&)>& change) const {
    const std::string before = read_bytes(path());
    nlohmann::json json = nlohmann::json::parse(before);
    change(json);
    json.erase("digest");
    json["digest"] = sha256_hex(canonical_json(json));
    write_bytes(path(), json.dump());
    std::string said = refusal();
    write_bytes(path(), before);
    return said;
  }

  TemporaryDirectory directory_;
  std::string digest_;
};

TEST_F(Manifest, HoldsWhatTheWriterWrote) {
  const SourceManifest manifest = read_manifest(directory_.path(), "test");
  EXPECT_EQ(manifest.id, "test");
  EXPECT_EQ(manifest.licence, "CC0-1.0");
  EXPECT_EQ(manifest.language, "en");
  EXPECT_EQ(manifest.vocab_size, 96);
  EXPECT_EQ(manifest.end_of_document, kTestEndOfDocument);
  EXPECT_EQ(manifest.digest, digest_);
  EXPECT_EQ(manifest.train.name, "test.train");
  EXPECT_EQ(manifest.train.tokens, 4);
  EXPECT_EQ(manifest.train.documents, 1);
  EXPECT_EQ(manifest.train.bin_bytes, 8);
  EXPECT_EQ(manifest.validation.text_bytes, 2 * kTestBytesPerToken);
  EXPECT_EQ(manifest.byte_trigram_bits_per_byte, 0);
}

TEST_F(Manifest, AnyChangeOfAFieldBreaksTheDigest) {
  const std::string before = read_bytes(path());
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"CC0-1.0", "CC0-1.1"},
                                                        {"\"tokens\":4", "\"tokens\":5"},
                                                        {"null", "2.5"},
                                                        {"\"vocab_size\":96", "\"vocab_size\":97"},
                                                        {"\"lab\"", "\"more\":1,\"lab\""}}) {
    write_bytes(path(), replaced(before, from, to));
    EXPECT_THAT(refusal(), HasSubstr("it was changed")) << to;
  }
  write_bytes(path(), nlohmann::json::parse(before).dump(4));
  EXPECT_EQ(refusal(), "no error") << "only the values count, not the spaces";
}

TEST_F(Manifest, UnknownFieldsAreKeptInTheDigestAndIgnored) {
  EXPECT_EQ(refusal_after([](auto& json) { json["added_later"] = {{"x", 0.1}}; }), "no error");
}

TEST_F(Manifest, FieldsOfTheWrongKindAreNamed) {
  const std::vector<std::pair<std::string, nlohmann::json>> wrong = {
      {"vocab_size", 96.0},
      {"vocab_size", "96"},
      {"vocab_size", 1},
      {"vocab_size", uint64_t(-1)},
      {"end_of_document", 96},
      {"end_of_document", -1},
      {"id", "other"},
      {"id", "../test"},
      {"licence", 1},
      {"tokenizer_sha256", "abc"},
      {"title", nullptr},
      {"train", nlohmann::json::array()},
      {"byte_trigram_bits_per_byte", "2"},
      {"byte_trigram_bits_per_byte", 9},
      {"kente_source", true}};
  for (const auto& [field, value] : wrong)
    EXPECT_THAT(
        refusal_after([&field = field, &value = value](auto& json) { json[field] = value; }),
        HasSubstr(field))
        << value;
  const std::vector<std::pair<std::string, nlohmann::json>> wrong_file = {
      {"name", "../../etc/passwd"},
      {"name", ".hidden"},
      {"name", ""},
      {"bin_bytes", -1},
      {"tokens", 1.5},
      {"bin_sha256", ""},
      {"idx_bytes", int64_t{1} << 51}};
  for (const auto& [field, value] : wrong_file)
    EXPECT_THAT(refusal_after(
                    [&field = field, &value = value](auto& json) { json["train"][field] = value; }),
                HasSubstr("train." + field))
        << value;
  for (const char* field : {"id", "train", "validation", "vocab_size", "kente_source", "origin"})
    EXPECT_THAT(refusal_after([&](auto& json) { json.erase(field); }), HasSubstr(field)) << field;
}

TEST_F(Manifest, NewerVersionIsCalledNewer) {
  EXPECT_THAT(refusal_after([](auto& json) { json["kente_source"] = 2; }),
              HasSubstr("version 2; this program reads 1"));
}

TEST_F(Manifest, HostileFilesAreRefused) {
  const std::string before = read_bytes(path());
  EXPECT_THAT((write_bytes(path(), ""), refusal()), StartsWith("format: " + path()));
  EXPECT_THAT((write_bytes(path(), "[]"), refusal()), HasSubstr("not an object"));
  EXPECT_THAT((write_bytes(path(), std::string(100'000, '{')), refusal()), StartsWith("format: "));
  EXPECT_THAT((write_bytes(path(), std::string(2 << 20, ' ')), refusal()), HasSubstr("at most"));
  EXPECT_THAT((write_bytes(path(), replaced(before, "{", "{\"id\":\"x\",")), refusal()),
              HasSubstr("\"id\" is given twice"));
}

TEST_F(Manifest, MissingSourceIsNamedWithWhatToDo) {
  const std::string said = refusal_of([&] { read_manifest(directory_.path(), "none"); });
  EXPECT_THAT(said, StartsWith("usage: "));
  EXPECT_THAT(said, HasSubstr("no source \"none\""));
  EXPECT_THAT(said, HasSubstr("--data DIR"));
}

TEST_F(Manifest, EmptyDigestsAreFilledInAndOthersKept) {
  Recipe recipe = one_source_recipe();
  EXPECT_EQ(with_source_digests(recipe, directory_.path()).data.sources[0].digest, digest_);
  recipe.data.sources[0].digest = std::string(64, 'a');
  EXPECT_EQ(with_source_digests(recipe, directory_.path()), recipe);
}

}  // namespace
}  // namespace kente
