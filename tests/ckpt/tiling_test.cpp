#include "csrc/ckpt/tiling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/ckpt/manifest.h"

namespace kente {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Shard shard_of(int64_t domain, const std::string& tensor) {
  Shard shard;
  shard.file = "rank-" + std::to_string(domain) + ".safetensors";
  shard.domain = domain;
  shard.bytes = 72;
  shard.sha256 = std::string(64, 'a');
  shard.chunk_xxh3 = {7};
  shard.tensors = {{tensor, DType::kF32, {4}, 56, 16}};
  return shard;
}

/// Step of two shards, "a" written on domain 0 and "b" on domain 1; present says which are here.
StepInventory two_parts(int64_t step, std::vector<std::string> present,
                        const std::string& run_id = "run") {
  StepInventory inventory;
  inventory.step = step;
  inventory.manifest.step = step;
  inventory.manifest.run_id = run_id;
  inventory.manifest.shards = {shard_of(0, "a"), shard_of(1, "b")};
  inventory.manifest_sha256 = digest_of(inventory.manifest);
  inventory.present = std::move(present);
  return inventory;
}

const std::string kA = "rank-0.safetensors", kB = "rank-1.safetensors";
const std::vector<WantedTensor> kWanted = {{"a", DType::kF32, {4}}, {"b", DType::kF32, {4}}};

TEST(NewestComplete, FindsEveryTensorOnTheNodeThatHasIt) {
  const RestoreChoice choice =
      newest_complete({{two_parts(3, {kA})}, {two_parts(3, {kB})}}, kWanted);
  ASSERT_TRUE(choice.point);
  EXPECT_EQ(choice.point->step, 3);
  EXPECT_TRUE(choice.point->durable);
  EXPECT_EQ(choice.point->tensors.at("a").domain, 0);
  EXPECT_EQ(choice.point->tensors.at("b").domain, 1);
  EXPECT_EQ(choice.point->tensors.at("b").tensor.offset, 56);
  EXPECT_TRUE(choice.passed_over.empty());
}

TEST(NewestComplete, PassesOverAStepOfWhichOneNodeNeverCommitted) {
  const RestoreChoice choice =
      newest_complete({{two_parts(4, {kA}), two_parts(3, {kA})}, {two_parts(3, {kB})}}, kWanted);
  ASSERT_TRUE(choice.point);
  EXPECT_EQ(choice.point->step, 3);
  EXPECT_THAT(choice.passed_over,
              ElementsAre(HasSubstr("step 4: rank-1.safetensors is on no node")));
}

TEST(NewestComplete, PartsOfDifferentAttemptsAreNeverMixed) {
  const RestoreChoice choice =
      newest_complete({{two_parts(4, {kA}, "one")}, {two_parts(4, {kB}, "two")}}, kWanted);
  EXPECT_FALSE(choice.point);
  EXPECT_EQ(choice.passed_over.size(), 2u);
}

TEST(NewestComplete, ANodesCopyOfAnothersShardIsEnough) {
  const RestoreChoice choice = newest_complete({{}, {two_parts(4, {kA, kB})}}, kWanted);
  ASSERT_TRUE(choice.point);
  EXPECT_EQ(choice.point->tensors.at("a").domain, 1);
  EXPECT_FALSE(choice.point->durable);
  EXPECT_THAT(choice.point->holders, ElementsAre(ElementsAre(1), ElementsAre(1)));
}

TEST(NewestComplete, OfTwoCompleteAttemptsTheOneOnMoreNodesWins) {
  const auto one = two_parts(4, {kA, kB}, "one"), two = two_parts(4, {kA, kB}, "two");
  EXPECT_EQ(newest_complete({{one}, {two}, {two}}, kWanted).point->manifest.run_id, "two");
  EXPECT_EQ(newest_complete({{one}, {one}, {two}}, kWanted).point->manifest.run_id, "one");
  EXPECT_EQ(newest_complete({{one}, {two}}, kWanted).point->manifest,
            newest_complete({{two}, {one}}, kWanted).point->manifest);
}

TEST(NewestComplete, MissingTensorOrOtherShapeIsNotLoaded) {
  const std::vector<std::vector<StepInventory>> domains = {{two_parts(3, {kA, kB})}};
  EXPECT_FALSE(newest_complete(domains, {{"c", DType::kF32, {4}}}).point);
  EXPECT_FALSE(newest_complete(domains, {{"a", DType::kF32, {2, 2}}}).point);
  EXPECT_FALSE(newest_complete(domains, {{"a", DType::kI32, {4}}}).point);
  EXPECT_TRUE(newest_complete(domains, {{"a", DType::kF32, {4}}}).point);
}

TEST(NewestComplete, DamagedManifestIsSaidAndPassedOver) {
  StepInventory damaged;
  damaged.step = 9;
  damaged.problem = "MANIFEST.json: damaged";
  const RestoreChoice choice = newest_complete({{damaged, two_parts(3, {kA, kB})}}, kWanted);
  ASSERT_TRUE(choice.point);
  EXPECT_EQ(choice.point->step, 3);
  EXPECT_THAT(choice.passed_over, ElementsAre(HasSubstr("step 9 on node 0")));
}

TEST(NewestComplete, NothingIsNothing) {
  EXPECT_FALSE(newest_complete({}, kWanted).point);
  EXPECT_FALSE(newest_complete({{}, {}}, kWanted).point);
}

}  // namespace
}  // namespace kente
