#include "csrc/plan/what_if.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "csrc/plan/planner.h"
#include "tests/support/random_clusters.h"

namespace kente {
namespace {

using testing::HasSubstr;

TEST(WhatIf, ReadsProfileDeviceCountAndLink) {
  const WhatIf full = parse_what_if("a:b/c.textproto:h100:4,latency=0.001,bandwidth=1e8");
  EXPECT_EQ(full.profile, "a:b/c.textproto");
  EXPECT_EQ(full.device, "h100");
  EXPECT_EQ(full.count, 4);
  EXPECT_EQ(full.latency_seconds, 0.001);
  EXPECT_EQ(full.bytes_per_second, 1e8);
  EXPECT_EQ(parse_what_if("c:x,bandwidth=1").count, 1);
}

TEST(WhatIf, RefusesWhatItCannotRead) {
  const auto refusal = [](const std::string& text) -> std::string {
    try {
      parse_what_if(text);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "read";
  };
  EXPECT_THAT(refusal("c:x"), HasSubstr("bandwidth is missing"));
  EXPECT_THAT(refusal("c:x,bandwidth=0"), HasSubstr("bandwidth is missing"));
  EXPECT_THAT(refusal("c:x,bandwidth=1,latency=-1"), HasSubstr("\"latency=-1\""));
  EXPECT_THAT(refusal("c:x,bandwidth=1e8x"), HasSubstr("\"bandwidth=1e8x\""));
  EXPECT_THAT(refusal("c:x,speed=1,bandwidth=1"), HasSubstr("there is no \"speed\""));
  EXPECT_THAT(refusal("c,bandwidth=1"), HasSubstr("no profile and device"));
  EXPECT_THAT(refusal("c:x:0,bandwidth=1"), HasSubstr("0 devices"));
  for (const char* const text : {"c:x", ":x,bandwidth=1", "c:,bandwidth=1"})
    EXPECT_THAT(refusal(text), HasSubstr("write PROFILE:DEVICE_ID[:COUNT]"));
}

TEST(WhatIf, AddedDevicesReachTheOthersOverTheGivenLinkAndEachOtherAsMeasured) {
  const PlanningCase made = random_small_case(3);
  ClusterProfile measured = random_small_case(4).cluster;
  measured.devices[0].id = made.cluster.devices[0].id;  // an id that is taken
  measured.links.clear();
  link_all(measured, 1e-6, 5e9);
  const ClusterProfile grown = add_devices(made.cluster, measured,
                                           {.profile = "m",
                                            .device = measured.devices[0].id,
                                            .count = 3,
                                            .latency_seconds = 0.25,
                                            .bytes_per_second = 1e6});
  EXPECT_EQ(grown.num_ranks(), made.cluster.num_ranks() + 3);
  EXPECT_EQ(grown.devices.back().id, measured.devices[0].id + "-2");
  EXPECT_EQ(grown.devices.back().curves, measured.devices[0].curves);
  const int added = static_cast<int>(grown.devices.size()) - 1;
  EXPECT_EQ(find_link(grown, 0, added, false)->latency_seconds, 0.25);
  EXPECT_EQ(find_link(grown, added, added, true)->bytes_per_second, 5e9);
}

TEST(WhatIf, ANearDeviceIsUsedAndAFarOneIsLeftOut) {
  PlanningCase made = random_small_case(0);
  made.recipe.numerics.reduction = Reduction::kFast;
  made.cluster.devices = {made_up_device("here", 1, int64_t{4} << 30)};
  made.cluster.links.clear();
  link_all(made.cluster, 1e-6, 1e10);
  const auto used = [&](double latency, double bandwidth) {
    const ClusterProfile grown = add_devices(made.cluster, made.cluster,
                                             {.profile = "",
                                              .device = "here",
                                              .count = 1,
                                              .latency_seconds = latency,
                                              .bytes_per_second = bandwidth});
    const CostModel model(made.recipe, grown);
    const Plan plan = make_plan(model, {}).finalists.front().plan;
    size_t ranks = 0;
    for (const ReplicaPlan& replica : plan.replicas) ranks += replica.stages.size();
    return ranks;
  };
  EXPECT_EQ(used(1e-6, 1e10), 2u);
  EXPECT_EQ(used(5, 1e3), 1u);
}

}  // namespace
}  // namespace kente
