#include "csrc/train/rank_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "csrc/base/errors.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/on_threads.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

constexpr auto kAuto = DeviceChoice::kAuto, kCpu = DeviceChoice::kCpu, kGpu = DeviceChoice::kGpu;

TEST(ShareGpus, EachRankTakesOneOfItsOwnAndTheRestComputeOnTheCpu) {
  const std::vector<std::string> both = {"a", "b"};
  EXPECT_THAT(share_gpus({{kAuto, both}, {kAuto, both}, {kAuto, both}}),
              testing::ElementsAre(0, 1, -1));
  EXPECT_THAT(share_gpus({{kAuto, {}}, {kAuto, {}}}), testing::ElementsAre(-1, -1));
  EXPECT_THAT(share_gpus({{kCpu, {}}, {kAuto, both}}), testing::ElementsAre(-1, 0));
}

TEST(ShareGpus, RanksThatSeeOneEachTakeThat) {
  EXPECT_THAT(share_gpus({{kAuto, {"a"}}, {kAuto, {"b"}}, {kAuto, {"c"}}}),
              testing::ElementsAre(0, 0, 0));
  // The second one sees them in another order.
  EXPECT_THAT(share_gpus({{kAuto, {"a", "b"}}, {kAuto, {"b", "a"}}}), testing::ElementsAre(0, 0));
  EXPECT_THAT(share_gpus({{kAuto, {"a", "b"}}, {kAuto, {"a", "b"}}, {kAuto, {"b", "c"}}}),
              testing::ElementsAre(0, 1, 1));
}

TEST(ShareGpus, WhoInsistsSharesTheOneWithTheFewestRanks) {
  const std::vector<std::string> both = {"a", "b"};
  EXPECT_THAT(share_gpus({{kGpu, both}, {kGpu, both}, {kGpu, both}, {kGpu, {"b"}}, {kGpu, both}}),
              testing::ElementsAre(0, 1, 0, 0, 0));
}

TEST(ShareGpus, WhoInsistsAndSeesNoneIsToldSo) {
  try {
    share_gpus({{kAuto, {}}, {kGpu, {}}});
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("--device gpu: this rank sees no GPU"));
  }
}

TEST(RankDevice, ComputesOnTheGpuThatIsLeftForIt) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  pretend::PretendNode node(2, 1);
  std::mutex mutex;
  std::vector<std::string> gpus(3);
  on_threads(3, [&](Communicator& world) {
    RankDevice device(world, "node", {.device = kAuto}, recipe.model);
    const at::Tensor tensor = device.ops().zeros({4}, at::kFloat);
    const std::lock_guard lock(mutex);
    gpus[static_cast<size_t>(world.rank())] = device.gpu().bus_id;
    EXPECT_EQ(tensor.is_cpu(), world.rank() == 2);
    EXPECT_EQ(device.tensors() == nullptr, world.rank() == 2);
    EXPECT_EQ(device.world().size(), 3);
  });
  EXPECT_THAT(gpus, testing::ElementsAre("0000:00:00.0", "0000:01:00.0", ""));
}

TEST(RankDevice, AModelThatItsKernelsCannotTrainIsRefusedByNumber) {
  ModelConfig model = small_recipe(ModelFamily::kLlama).model;
  EXPECT_THAT(why_no_gpu(model), testing::HasSubstr("heads of 8 are no multiple of 16"));
  model.num_attention_heads = 2;
  EXPECT_EQ(why_no_gpu(model), "");
  model.intermediate_size = 90;
  EXPECT_THAT(why_no_gpu(model), testing::HasSubstr("intermediate_size 90"));
  model.hidden_size = 36;
  EXPECT_THAT(why_no_gpu(model), testing::HasSubstr("hidden_size 36"));
  pretend::PretendNode node(1, 1);
  on_threads(1, [&](Communicator& world) {
    EXPECT_THROW(RankDevice(world, "node", {.device = kAuto}, model), UsageError);
    EXPECT_NO_THROW(RankDevice(world, "node", {.device = kCpu}, model));
  });
}

}  // namespace
}  // namespace kente
