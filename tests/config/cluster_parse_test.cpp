#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/config/cluster.h"
#include "csrc/config/parse.h"
#include "tests/config/config_texts.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::HasSubstr;

// For the small gpt2 recipe: two ranks of one kind on a node, one of another on a second.
const std::string kCluster = R"(version: 1
measured {
  model_type: gpt2 vocab_size: 96 hidden_size: 32 intermediate_size: 128
  num_attention_heads: 4 num_key_value_heads: 4 sequence_length: 16 grain_samples: 1
  stop_at_documents: false reduction: EXACT
}
device {
  id: "a" count: 2 node: "n1"
  memory_bytes: 1000000
  optimizer_seconds_per_parameter: 1e-9
  times { layer: EMBEDDING compute: F32
    at { grains: 1 forward: 1e-3 backward_input: 0 backward_weight: 1e-3 } }
  times { layer: BLOCK compute: F32
    at { grains: 1 forward: 2e-3 backward_input: 3e-3 backward_weight: 4e-3 }
    at { grains: 2 forward: 3e-3 backward_input: 5e-3 backward_weight: 7e-3 }
  }
  times { layer: HEAD compute: F32
    at { grains: 1 forward: 1e-3 loss: 1e-3 backward_input: 1e-3 backward_weight: 1e-3 } }
}
device {
  id: "b" node: "n2"
  memory_bytes: 2000000
  optimizer_seconds_per_parameter: 1e-9
  ceiling { compute: F32 gemm_flops_per_second: 1e9 }
  busy_watts: 50
  times { layer: EMBEDDING compute: F32
    at { grains: 1 forward: 1e-3 backward_input: 0 backward_weight: 1e-3 } }
  times { layer: BLOCK compute: F32
    at { grains: 1 forward: 1e-3 backward_input: 1e-3 backward_weight: 1e-3 } }
  times { layer: HEAD compute: F32
    at { grains: 1 forward: 1e-3 loss: 1e-3 backward_input: 1e-3 backward_weight: 1e-3 } }
}
link { from: "a" to: "a" same_node: true latency_seconds: 1e-6 bytes_per_second: 1e9 }
link { from: "b" to: "a" latency_seconds: 1e-4 bytes_per_second: 1e8 }
)";

Recipe cluster_recipe() { return small_recipe(ModelFamily::kGpt2); }

void expect_cluster_refused(const WrongText& wrong) {
  expect_refused(wrong, kCluster, "c",
                 [](const std::string& text) { parse_cluster(text, "c", cluster_recipe()); });
}

TEST(ClusterParse, ReadsDevicesCurvesAndLinks) {
  const ClusterProfile cluster = parse_cluster(kCluster, "c", cluster_recipe());
  EXPECT_EQ(cluster.num_ranks(), 3);
  const LayerCurve* block = cluster.devices[0].curve(LayerKind::kBlock, DType::kF32);
  ASSERT_NE(block, nullptr);
  ASSERT_EQ(block->at.size(), 2u);
  EXPECT_EQ(block->at[1].backward_weight, 7e-3);
  EXPECT_EQ(cluster.devices[1].busy_watts, 50);
  EXPECT_FALSE(cluster.devices[0].busy_watts.has_value()) << "not written is not measured";
  EXPECT_EQ(find_link(cluster, 0, 1, false)->bytes_per_second, 1e8) << "in either order";
}

TEST(ClusterParse, TextOfAProfileParsesToTheSameProfile) {
  ClusterProfile cluster = parse_cluster(kCluster, "c");
  cluster.devices[0].curves[1].at[0].forward = 1.0 / 3;  // every bit is kept
  cluster.devices[0].price_per_hour = 0.1;
  cluster.devices[1].machine_digest = "d";
  cluster.links[1].busy_latency_seconds = 2e-4;
  EXPECT_EQ(parse_cluster(to_text(cluster), "c", cluster_recipe()), cluster) << to_text(cluster);
}

TEST(ClusterParse, TimesArePositiveAndFinite) {
  expect_cluster_refused(
      {"forward: 2e-3", "forward: 0", ":14:20", "forward is 0; allowed: above 0"});
  expect_cluster_refused({"forward: 2e-3", "forward: -2e-3", ":14:20", "forward is -0.002"});
  expect_cluster_refused({"forward: 2e-3", "forward: nan", ":14:20", "forward is nan"});
  expect_cluster_refused({"forward: 2e-3", "forward: inf", ":14:20", "forward is inf"});
  expect_cluster_refused(
      {"backward_weight: 4e-3", "", ":14:5", "backward_weight is missing; add it"});
  expect_cluster_refused({"optimizer_seconds_per_parameter: 1e-9",
                          "optimizer_seconds_per_parameter: 0", ":10:3",
                          "optimizer_seconds_per_parameter is 0"});
  expect_cluster_refused({"memory_bytes: 1000000", "memory_bytes: 0", ":9:3", "memory_bytes is 0"});
  expect_cluster_refused(
      {"gemm_flops_per_second: 1e9", "gemm_flops_per_second: -1", ":24:26", "is -1"});
  expect_cluster_refused({"busy_watts: 50", "busy_watts: nan", ":25:3", "busy_watts is nan"});
}

TEST(ClusterParse, GrainsAscendAndEveryLayerIsThere) {
  expect_cluster_refused({"grains: 2", "grains: 1", ":15:10", "grains is 1; allowed: 2 to"});
  expect_cluster_refused({"layer: HEAD", "layer: BLOCK", ":17:3", "BLOCK in F32 is given twice"});
  expect_cluster_refused({"layer: HEAD compute: F32", "layer: HEAD compute: BF16", ":7:1",
                          "no times of the HEAD in F32"});
  expect_cluster_refused({"layer: HEAD", "layer: TAIL", ":17:18", "there is no value \"TAIL\""});
}

TEST(ClusterParse, EveryPairOfDevicesIsLinked) {
  expect_cluster_refused({"link { from: \"b\" to: \"a\"", "link { from: \"b\" to: \"b\"", ":20:1",
                          "no link joins \"a\" and \"b\""});
  expect_cluster_refused(
      {"link { from: \"a\" to: \"a\" same_node: true latency_seconds: 1e-6 "
       "bytes_per_second: 1e9 }",
       "", ":7:1", "no link joins \"a\" and \"a\""});
  expect_cluster_refused({"from: \"b\"", "from: \"z\"", ":34:8", "there is no device \"z\""});
  expect_cluster_refused({"link { from: \"b\"",
                          "link { from: \"a\" to: \"b\" latency_seconds: 1 "
                          "bytes_per_second: 1 } link { from: \"b\"",
                          ":34:67", "joins what link[1] joins already"});
  expect_cluster_refused(
      {"bytes_per_second: 1e8", "bytes_per_second: 0", ":34:48", "bytes_per_second is 0"});
}

TEST(ClusterParse, DevicesHaveNamesOfTheirOwn) {
  expect_cluster_refused({"id: \"b\"", "id: \"a\"", ":21:3", "is device[0]'s too"});
  expect_cluster_refused({"id: \"b\"", "", ":20:1", "id is missing"});
  expect_cluster_refused({"count: 2", "count: 0", ":8:11", "count is 0"});
  expect_cluster_refused(
      {"count: 2", "count: 2 per_node: 3", ":8:20", "per_node is 3; allowed: 0 to 2"});
}

TEST(ClusterParse, AProfileOfOtherLayersIsRefused) {
  expect_cluster_refused({"hidden_size: 32", "hidden_size: 64", ":3:35",
                          "measured.hidden_size is 64, the recipe's is 32; run kente bench"});
  expect_cluster_refused(
      {"model_type: gpt2", "model_type: llama", ":3:3", "measured.model_type is llama"});
  expect_cluster_refused({"reduction: EXACT", "reduction: FAST", ":5:28", "the recipe's is EXACT"});
  expect_cluster_refused(
      {"sequence_length: 16", "sequence_length: 32", ":4:49", "the recipe's is 16"});
  expect_cluster_refused(
      {"measured {", "measured { vocab_size: 1", ":3:20", "vocab_size is given twice"});
}

TEST(ClusterParse, AProfileInAnotherDtypeIsRefused) {
  Recipe other = cluster_recipe();
  other.numerics.compute = DType::kBF16;
  EXPECT_THAT(error_of([&] { parse_cluster(kCluster, "c", other); }),
              HasSubstr("device[0] has no times in bf16"));
}

TEST(ClusterParse, AProfileOfVersion1IsReadForEver) {
  const ClusterProfile cluster =
      load_cluster(std::string(KENTE_SOURCE_DIR) + "/tests/golden/cluster_v1.textproto");
  ASSERT_EQ(cluster.devices.size(), 4u);
  EXPECT_EQ(cluster.links.size(), 6u);
  EXPECT_EQ(cluster.devices[0].memory_bytes, 1'000'000'000);
  EXPECT_NEAR(cluster.devices[3].curve(LayerKind::kBlock, DType::kF32)->at[0].forward, 2e-3, 1e-4);
}

TEST(ClusterParse, WithoutARecipeAnyLayersWillDo) {
  EXPECT_NO_THROW(parse_cluster(with(kCluster, "hidden_size: 32", "hidden_size: 64"), "c"));
  EXPECT_THAT(error_of([] { parse_cluster("version: 1", "c"); }), HasSubstr("measured is missing"));
  EXPECT_THAT(error_of([] { parse_cluster("version: 9", "c"); }), HasSubstr("version 9"));
}

}  // namespace
}  // namespace kente
