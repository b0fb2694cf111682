#include "csrc/train/replica_check.h"

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/local.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

/// Ranks that are threads, each with the model's weights and moments as their plan has it.
class Replicas : public testing::Test {
 protected:
  struct Rank {
    Parameters& parameters;
    AdamW& optimizer;
    ReplicaCheck& check;
  };

  void on(const Plan& plan, int ranks, const std::function<void(int, Rank&)>& work) {
    const auto worlds = make_local(ranks);
    std::vector<std::jthread> threads;
    threads.reserve(worlds.size());
    for (int rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        Communicator& world = *worlds[static_cast<size_t>(rank)];
        const Mesh mesh = make_mesh(recipe_, plan, ranks);
        Parameters parameters(recipe_.model, mesh.layers_of(rank), DType::kF32);
        parameters.init(recipe_.seed);
        AdamW optimizer(recipe_.optimizer, parameters);
        HostState state(parameters, &optimizer);
        ReplicaCheck check(mesh, world, state, 60);
        Rank all{.parameters = parameters, .optimizer = optimizer, .check = check};
        work(rank, all);
      });
  }

  static void flip(const at::Tensor& tensor, int64_t element, int bit) {
    float& value = tensor.data_ptr<float>()[element];
    value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ (1u << bit));
  }

  Recipe recipe_ = small_recipe(ModelFamily::kGpt2);
  std::mutex mutex_;
};

const Plan& three() {
  static const Plan plan = plan_from_borders({{0, 6}, {0, 6}, {0, 6}}, {6, 5, 5});
  return plan;
}

TEST_F(Replicas, AnyOfTheThirtyTwoBitsIsFoundItsRankNamedAndHealedFromTheOthers) {
  on(three(), 3, [&](int rank, Rank& mine) {
    EXPECT_TRUE(mine.check.heal(mine.check.digests()).empty());
    for (int bit = 0; bit < 32; ++bit) {
      const int culprit = bit % 3;
      const at::Tensor touched =
          bit % 2 == 0 ? mine.parameters.master(2) : mine.optimizer.exp_avg_sq(2);
      if (rank == culprit) flip(touched, 5 + bit, bit);
      const std::vector<Corruption> found = mine.check.heal(mine.check.digests());
      const std::scoped_lock lock(mutex_);
      ASSERT_EQ(found.size(), 1u) << bit;
      EXPECT_EQ(found[0].group, 2);
      EXPECT_EQ(found[0].culprits, std::vector<int>{culprit});
      EXPECT_NE(describe(found[0]).find("rank " + std::to_string(culprit) + " held"),
                std::string::npos);
    }
    EXPECT_TRUE(mine.check.heal(mine.check.digests()).empty()) << "healed, moments too";
    EXPECT_TRUE(mine.parameters.compute(2).equal(mine.parameters.master(2)));
  });
}

TEST_F(Replicas, TwoCannotTellWhoIsWrongButTheRerunDoes) {
  const Plan two = plan_from_borders({{0, 6}, {0, 6}}, {8, 8});
  on(two, 2, [&](int rank, Rank& mine) {
    const ReplicaDigests rerun = mine.check.digests();
    if (rank == 1) flip(mine.parameters.master(0), 3, 30);
    const ReplicaDigests then = mine.check.digests();
    const std::vector<Corruption> found = mine.check.heal(then);
    const std::scoped_lock lock(mutex_);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_TRUE(found[0].culprits.empty());
    EXPECT_NE(describe(found[0]).find("no majority"), std::string::npos);
    EXPECT_EQ(proved_wrong(make_mesh(recipe_, two, 2), then, rerun), std::vector<int>{1});
  });
}

TEST_F(Replicas, OnlyWhatSeveralRanksHoldIsCompared) {
  const Plan uneven = plan_from_borders({{0, 3, 6}, {0, 6}}, {8, 8});
  on(uneven, 3, [&](int rank, Rank& mine) {
    EXPECT_FALSE(mine.check.empty());
    if (rank == 1) flip(mine.parameters.master(4), 0, 7);
    const std::vector<Corruption> found = mine.check.heal(mine.check.digests());
    const std::scoped_lock lock(mutex_);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].holders, (std::vector<int>{1, 2}));
  });
  on(plan_from_borders({{0, 3, 6}}, {16}), 2, [&](int, Rank& mine) {
    // A tied table is held by both ends, the blocks by one rank each.
    const ReplicaDigests digests = mine.check.digests();
    EXPECT_EQ(digests.size(), 1u);
  });
}

}  // namespace
}  // namespace kente
