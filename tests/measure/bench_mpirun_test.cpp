#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/config/cluster.h"
#include "csrc/config/parse.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

using testing::HasSubstr;

constexpr double kLimit = 120;  // seconds for one command

/// The real program under the real mpirun.
class BenchMpirun : public testing::Test {
 protected:
  BenchMpirun() {
    recipe_ = small_recipe(ModelFamily::kLlama);
    recipe_.numerics.reduction = Reduction::kFast;
    recipe_.global_batch_tokens = 4 * recipe_.sequence_length;
    write_bytes(directory_ / "recipe.textproto", to_text(recipe_));
  }

  std::string bench(const std::string& more) {
    return std::string(KENTE_BINARY_DIR) + "/bin/kente bench --recipe " +
           directory_ / "recipe.textproto" + " --out " + directory_ / "bench" + " " + more;
  }

  TemporaryDirectory directory_;
  Recipe recipe_;
};

TEST_F(BenchMpirun, TwoUnlikeRanksAreMeasuredInLessThanTwentySeconds) {
  const std::string layer = "{ forward: 8e-3 backward_input: 8e-3 backward_weight: 8e-3 ";
  write_bytes(directory_ / "imitation.textproto",
              "version: 1 rank { kind: 'slow' embedding " + layer + "} block " + layer + "} head " +
                  layer + "loss: 8e-3 } } rank { kind: 'fast' speed: 4 embedding " + layer +
                  "} block " + layer + "} head " + layer + "loss: 8e-3 } }");
  const CommandResult result = run_command(
      mpirun(2) + " " + bench("--imitate " + directory_ / "imitation.textproto"), kLimit);
  ASSERT_EQ(result.status, 0) << result.output;
  const size_t at = result.output.find("measured in ");
  ASSERT_NE(at, std::string::npos) << result.output;
  EXPECT_LT(std::stod(result.output.substr(at + 12)), 20);

  const ClusterProfile cluster = load_cluster(directory_ / "bench/cluster.textproto", recipe_);
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[0].id, "rank-0");
  EXPECT_EQ(cluster.devices[1].kind, "fast");
  const auto block = [&](size_t device) {
    const LayerSeconds& one =
        cluster.devices[device].curve(LayerKind::kBlock, DType::kF32)->at.at(0);
    return one.forward + one.backward_input + one.backward_weight;
  };
  // 4; other programs may hold a rank up while it wants to wake.
  EXPECT_GT(block(0) / block(1), 3);
  EXPECT_LT(block(0) / block(1), 5);
  EXPECT_THAT(read_bytes(directory_ / "bench/bench.html"), HasSubstr("rank-1"));
}

TEST_F(BenchMpirun, OneRankAsJson) {
  const CommandResult result = run_command(bench("--json 2>/dev/null"), kLimit);
  ASSERT_EQ(result.status, 0) << result.output;
  const auto json = nlohmann::json::parse(result.output);
  EXPECT_EQ(json["metrics"]["ranks"], 1);
  EXPECT_GT(json["devices"][0]["block_seconds"], 0);
}

TEST_F(BenchMpirun, RanksWithOtherRecipesAreRefusedInOneLine) {
  const CommandResult result =
      run_command(mpirun(1) + " " + bench("") + " : -n 1 " + bench("--set steps=31"), kLimit);
  EXPECT_EQ(result.status, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("kente: recipe of rank 1"));
}

TEST_F(BenchMpirun, ComparesTwoProfilesWithoutMpirun) {
  const std::string golden = std::string(KENTE_SOURCE_DIR) + "/tests/golden/cluster_v1.textproto";
  const std::string kente = std::string(KENTE_BINARY_DIR) + "/bin/kente bench --compare ";
  const CommandResult result =
      run_command(kente + golden + " " + golden + " --out " + directory_ / "c.html", kLimit);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("block of one grain, slowest"));
  EXPECT_THAT(read_bytes(directory_ / "c.html"), HasSubstr("Side by side"));
  const CommandResult missing = run_command(kente + golden + " nowhere", kLimit);
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.output, HasSubstr("nowhere"));
}

}  // namespace
}  // namespace kente
