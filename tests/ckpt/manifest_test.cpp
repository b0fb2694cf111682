#include "csrc/ckpt/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/faulty_file_system.h"

namespace kente {
namespace {

using ::testing::HasSubstr;

CheckpointManifest small_manifest() {
  FaultyFileSystem files;
  return write_small_checkpoint(files, "/run/ckpt", 10);
}

/// Why the text is refused; empty when it is not.
std::string refusal_of(const std::string& text) {
  try {
    parse_manifest(text, "MANIFEST.json");
  } catch (const FormatError& refusal) {
    return refusal.what();
  }
  return "";
}

/// The manifest with some text replaced, and a digest that holds.
std::string forged(const std::string& from, const std::string& to,
                   const CheckpointManifest& manifest = small_manifest()) {
  std::string text = to_json(manifest);
  const size_t digest_end = text.find("\",") + 2;
  std::string bare = "{";
  bare.append(text, digest_end, text.size() - digest_end - 1);
  const size_t at = bare.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  bare.replace(at, from.size(), to);
  return "{\"digest\":\"" + sha256_hex(bare) + "\"," + bare.substr(1) + "\n";
}

TEST(Manifest, ComesBackAsItWasWritten) {
  const CheckpointManifest manifest = small_manifest();
  EXPECT_EQ(parse_manifest(to_json(manifest), "m"), manifest);
}

TEST(Manifest, EveryFlippedBitOfEveryByteIsRefused) {
  const std::string text = to_json(small_manifest());
  for (size_t byte = 0; byte < text.size(); ++byte)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = text;
      flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << bit));
      ASSERT_NE(refusal_of(flipped), "") << "byte " << byte << " bit " << bit;
    }
}

TEST(Manifest, EveryTruncationIsRefused) {
  const std::string text = to_json(small_manifest());
  for (size_t bytes = 0; bytes < text.size(); ++bytes)
    ASSERT_NE(refusal_of(text.substr(0, bytes)), "") << bytes;
  EXPECT_NE(refusal_of(text + "\n"), "");
}

TEST(Manifest, PiecesComeBackAndLieWithinTheirTensors) {
  FaultyFileSystem files;
  const CheckpointManifest manifest = write_small_checkpoint_in_pieces(files, "/run/ckpt", 10);
  EXPECT_EQ(manifest.version, 2);
  EXPECT_EQ(small_manifest().version, 1);  // older builds read what has no pieces
  EXPECT_EQ(parse_manifest(to_json(manifest), "m"), manifest);
  EXPECT_EQ(parse_shard(to_json(manifest.shards[1]), "rank 1"), manifest.shards[1]);
  const auto why = [&](const std::string& from, const std::string& to) {
    return refusal_of(forged(from, to, manifest));
  };
  EXPECT_EQ(why("\"first\":40", "\"first\":39"), "");  // an overlap is the choice's to refuse
  EXPECT_THAT(why("\"first\":40", "\"first\":41"), HasSubstr("no piece of layers.0.weight"));
  EXPECT_THAT(why("\"first\":40", "\"first\":9223372036854775807"), HasSubstr("no piece"));
  EXPECT_THAT(why("\"shape\":[7,11]", "\"shape\":[4294967296,4294967296]"), HasSubstr("no piece"));
  EXPECT_THAT(why("\"shape\":[40]", "\"shape\":[1,40]"), HasSubstr("no piece"));
  EXPECT_THAT(why("\"first\":40", "\"first\":40,\"x\":1"), HasSubstr("unknown key"));
  EXPECT_THAT(why("\"kente_checkpoint\":2", "\"kente_checkpoint\":1"),
              HasSubstr("version 1 does not know"));
}

TEST(Manifest, NewerVersionIsRefusedByName) {
  EXPECT_THAT(refusal_of(forged("\"kente_checkpoint\":1", "\"kente_checkpoint\":3")),
              HasSubstr("version 3, this build reads versions 1 to 2: use a newer kente"));
}

TEST(Manifest, ForgeriesWithARightDigestAreRefused) {
  EXPECT_EQ(refusal_of(forged("\"step\":10", "\"step\":11")), "");  // forged() itself works
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":10,\"step\":11")), HasSubstr("twice"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":-10")), HasSubstr("negative"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":1e1")), HasSubstr("unsigned"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":18446744073709551616")),
              HasSubstr("unsigned"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":18446744073709551615")),
              HasSubstr("too large"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\": 10")), HasSubstr("canonical"));
  EXPECT_THAT(refusal_of(forged("\"step\":10", "\"step\":10,\"x\":1")), HasSubstr("unknown key"));
  EXPECT_THAT(refusal_of(forged("rank-0001.", "../k-0001.")), HasSubstr("plain"));
  EXPECT_THAT(refusal_of(forged("rank-0001.", "rank-0000.")), HasSubstr("twice"));
  EXPECT_THAT(refusal_of(forged("layers.1.weight", "layers.0.weight")), HasSubstr("twice"));
  EXPECT_THAT(refusal_of(forged("\"shape\":[7,11]", "\"shape\":[7,12]")), HasSubstr("shape"));
  EXPECT_THAT(
      refusal_of(forged("\"shape\":[7,11]", "\"shape\":[4294967296,4294967296,4294967296]")),
      HasSubstr("shape"));
  EXPECT_THAT(refusal_of(forged("\"state\":{", "\"state\":{\"a\":" + std::string(40, '[') +
                                                   std::string(40, ']') + ",")),
              HasSubstr("nested deeper than 32"));
}

TEST(Manifest, HundredThousandBracketsAreRefusedNotFollowed) {
  const std::string bare = "{" + std::string(100000, '[');
  EXPECT_NE(refusal_of("{\"digest\":\"" + sha256_hex(bare) + "\"," + bare.substr(1) + "\n"), "");
}

TEST(Inventory, TravelsBetweenRanksUnchanged) {
  FaultyFileSystem files;
  for (const int64_t step : {1, 2, 3}) write_small_checkpoint(files, "/c", step);
  files.flip_bit("/c/" + step_directory(3) + "/MANIFEST.json", 9, 7);
  files.remove("/c/" + step_directory(2) + "/rank-0000.safetensors");
  const std::vector<StepInventory> steps = list_checkpoints(files, "/c");
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_NE(steps[0].problem, "");
  EXPECT_EQ(steps[1].damaged, std::vector<std::string>{"rank-0000.safetensors"});
  EXPECT_EQ(parse_inventory(to_json(steps), "rank 1"), steps);
  EXPECT_THROW(parse_inventory("{\"kente_inventory\":2,\"steps\":[]}", "rank 1"), FormatError);
}

TEST(Inventory, ManifestOfAnotherStepIsAProblem) {
  FaultyFileSystem files;
  write_small_checkpoint(files, "/c", 1);
  files.rename_new("/c/" + step_directory(1), "/c/" + step_directory(2));
  EXPECT_THAT(list_checkpoints(files, "/c").at(0).problem, HasSubstr("step 1"));
}

TEST(Shard, TravelsBetweenRanksUnchanged) {
  const Shard shard = small_manifest().shards[0];
  EXPECT_EQ(parse_shard(to_json(shard), "rank 2"), shard);
}

}  // namespace
}  // namespace kente
