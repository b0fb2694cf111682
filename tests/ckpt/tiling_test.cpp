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
  EXPECT_EQ(choice.point->tensors.at("a").at(0).domain, 0);
  EXPECT_EQ(choice.point->tensors.at("b").at(0).domain, 1);
  EXPECT_EQ(choice.point->tensors.at("b").at(0).tensor.offset, 56);
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
  EXPECT_EQ(choice.point->tensors.at("a").at(0).domain, 1);
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

/// A step of one shard that holds these pieces, [first, first + count), of "w" f32 [3, 4].
StepInventory of_pieces(const std::vector<std::pair<int64_t, int64_t>>& pieces) {
  Shard shard = shard_of(0, "x");
  shard.tensors.clear();
  int64_t at = 56;
  for (const auto& [first, count] : pieces) {
    StoredTensor tensor{"w@" + std::to_string(first) + "+" + std::to_string(count),
                        DType::kF32,
                        {count},
                        at,
                        4 * count};
    tensor.piece_of = PieceOf{.name = "w", .shape = {3, 4}, .first = first};
    at += tensor.bytes;
    shard.tensors.push_back(tensor);
  }
  shard.bytes = at;
  StepInventory inventory;
  inventory.step = inventory.manifest.step = 3;
  inventory.manifest.add(shard);
  inventory.manifest_sha256 = digest_of(inventory.manifest);
  inventory.present = {shard.file};
  return inventory;
}

TEST(NewestComplete, PiecesMustCoverTheTensorOnceInAnyOrder) {
  const std::vector<WantedTensor> wanted = {{"w", DType::kF32, {3, 4}}};
  const auto choose = [&](const std::vector<std::pair<int64_t, int64_t>>& pieces) {
    return newest_complete({{of_pieces(pieces)}}, wanted);
  };
  const RestoreChoice good = choose({{5, 7}, {0, 2}, {2, 3}});
  ASSERT_TRUE(good.point);
  EXPECT_EQ(good.point->manifest.version, 2);
  std::vector<int64_t> firsts;
  for (const TensorSource& source : good.point->tensors.at("w")) firsts.push_back(source.first());
  EXPECT_THAT(firsts, ElementsAre(0, 2, 5));
  const auto reason = [&](const std::vector<std::pair<int64_t, int64_t>>& pieces) {
    const RestoreChoice choice = choose(pieces);
    EXPECT_FALSE(choice.point);
    return choice.passed_over.at(0);
  };
  EXPECT_THAT(reason({{0, 2}, {5, 7}}), HasSubstr("element 2 of tensor w is not in it"));
  EXPECT_THAT(reason({{0, 5}, {5, 6}}), HasSubstr("element 11 of tensor w is not in it"));
  EXPECT_THAT(reason({{1, 11}}), HasSubstr("element 0 of tensor w is not in it"));
  EXPECT_THAT(reason({{0, 6}, {5, 7}}), HasSubstr("element 5 of tensor w is stored twice"));
  EXPECT_THAT(reason({{0, 12}, {3, 2}}), HasSubstr("element 3 of tensor w is stored twice"));
  EXPECT_FALSE(newest_complete({{of_pieces({{0, 12}})}}, {{"w", DType::kF32, {12}}}).point);
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
