#include <gtest/gtest.h>

#include "tests/ckpt/small_checkpoint.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

const std::string kGolden = std::string(KENTE_SOURCE_DIR) + "/tests/golden/ckpt_v1";
const std::string kGolden2 = std::string(KENTE_SOURCE_DIR) + "/tests/golden/ckpt_v2";

TEST(GoldenCheckpoint, VersionOneLoadsForEver) {
  const auto files = posix_file_system();
  EXPECT_EQ(load_newest(*files, kGolden), 10);
  const auto steps = list_checkpoints(*files, kGolden);
  EXPECT_EQ(steps.at(0).manifest.samples, 160);
  EXPECT_EQ(steps.at(0).manifest.state.at("tokens"), "2560");
  EXPECT_TRUE(verify_checkpoint(*files, kGolden, steps.at(0)).problems.empty());
}

TEST(GoldenCheckpoint, VersionTwoWithItsPiecesLoadsForEver) {
  const auto files = posix_file_system();
  EXPECT_EQ(load_newest(*files, kGolden2), 10);
  const auto steps = list_checkpoints(*files, kGolden2);
  EXPECT_EQ(steps.at(0).manifest.version, 2);
  EXPECT_TRUE(verify_checkpoint(*files, kGolden2, steps.at(0)).problems.empty());
}

TEST(GoldenCheckpoint, WritingAgainMakesTheSameBytes) {
  const TemporaryDirectory directory;
  const auto files = posix_file_system();
  write_small_checkpoint(*files, directory / "v1", 10);
  write_small_checkpoint_in_pieces(*files, directory / "v2", 10);
  for (const char* name : {"MANIFEST.json", "rank-0000.safetensors", "rank-0001.safetensors"}) {
    const std::string path = "/" + step_directory(10) + "/" + name;
    EXPECT_EQ(read_text_file((directory / "v1") + path, 1 << 20),
              read_text_file(kGolden + path, 1 << 20))
        << name;
    EXPECT_EQ(read_text_file((directory / "v2") + path, 1 << 20),
              read_text_file(kGolden2 + path, 1 << 20))
        << name;
  }
}

}  // namespace
}  // namespace kente
