#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "csrc/report/cluster_report.h"
#include "csrc/report/cluster_summary.h"

namespace kente {
namespace {

using testing::HasSubstr;
using testing::Not;

/// count ranks, each twice as fast as the one before it, all linked.
ClusterProfile cluster_of(int count) {
  ClusterProfile cluster;
  cluster.name = "lab";
  cluster.measured = {
      .vocab_size = 96, .hidden_size = 32, .sequence_length = 16, .grain_samples = 1};
  double seconds = 16e-3;
  for (int rank = 0; rank < count; ++rank, seconds /= 2) {
    DeviceProfile device;
    device.id = "rank-" + std::to_string(rank);
    device.kind = "kind-" + std::to_string(rank % 3);
    device.node = "n1";
    device.memory_bytes = int64_t{1} << 30;
    for (const LayerKind kind : {LayerKind::kEmbedding, LayerKind::kBlock, LayerKind::kHead})
      device.curves.push_back({.layer = kind,
                               .at = {{.grains = 1,
                                       .forward = seconds,
                                       .backward_input = seconds,
                                       .backward_weight = seconds},
                                      {.grains = 2,
                                       .forward = 1.5 * seconds,
                                       .backward_input = 1.5 * seconds,
                                       .backward_weight = 1.5 * seconds}}});
    device.ceilings = {{.compute = DType::kF32, .flops_per_second = 1e11}};
    device.copy_bytes_per_second = 1e10;
    device.storage_bytes_per_second = 1e9;
    device.storage_sync_seconds = 2e-3;
    cluster.devices.push_back(device);
  }
  for (int a = 0; a < count; ++a)
    for (int b = a + 1; b < count; ++b)
      cluster.links.push_back({.from = cluster.devices[static_cast<size_t>(a)].id,
                               .to = cluster.devices[static_cast<size_t>(b)].id,
                               .latency_seconds = 5e-6,
                               .bytes_per_second = 2e9,
                               .busy_latency_seconds = 1e-4,
                               .busy_bytes_per_second = 1e9,
                               .reduce_bytes_per_second = 1e9});
  return cluster;
}

const std::string kHostileName = "<script>alert('1')</script>&\"\x1b[31m";

/// Every name of a cluster is that text.
ClusterProfile hostile_cluster() {
  ClusterProfile cluster = cluster_of(2);
  cluster.name = kHostileName;
  for (DeviceProfile& device : cluster.devices) {
    device.kind = device.node = kHostileName;
    device.id = kHostileName + device.id;
  }
  for (LinkProfile& link : cluster.links) {
    link.from = kHostileName + link.from;
    link.to = kHostileName + link.to;
  }
  return cluster;
}

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(ClusterPage, ShowsDevicesTimesLinksAndFindings) {
  const std::string html =
      cluster_html(cluster_of(3), {{Severity::kWarn, "too little memory", "add some"}});
  for (const char* text : {"rank-0", "rank-2", "kind-1", "16.00 ms", "24.00 ms", "100 GFLOP/s",
                           "1.00 GB/s", "100.0 µs", "too little memory", "add some", "A block"})
    EXPECT_THAT(html, HasSubstr(text));
  EXPECT_EQ(count_of(html, "<svg class=\"chart\""), 6u) << "three layers, wide and narrow";
  EXPECT_EQ(count_of(html, "<td title="), 9u) << "a cell for every pair";
}

TEST(ClusterPage, LoadsNothingAndFollowsTheColourScheme) {
  const std::string html = cluster_html(cluster_of(2), {});
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(html, HasSubstr("Nothing was found."));
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(ClusterPage, EscapesHostileNames) {
  const std::vector<Finding> findings = {{Severity::kNote, kHostileName, kHostileName}};
  for (const std::string& html :
       {cluster_html(hostile_cluster(), findings),
        compare_html({kHostileName, hostile_cluster()}, {kHostileName, hostile_cluster()})}) {
    EXPECT_THAT(html, Not(HasSubstr("<script>")));
    EXPECT_THAT(html, HasSubstr("&lt;script&gt;"));
    EXPECT_THAT(html, Not(HasSubstr("alert('1')")));
  }
}

TEST(ClusterPage, ManyRanksAreShownByKindAndStaySmall) {
  const std::string html = cluster_html(cluster_of(60), {});
  EXPECT_EQ(count_of(html, "class=\"key shade"), 3u) << "a line a kind";
  EXPECT_THAT(html, HasSubstr("The first 24 ranks."));
  EXPECT_LT(html.size(), size_t{1} << 20);
}

TEST(ClusterText, CannotSteerATerminal) {
  const std::vector<Finding> findings = {{Severity::kNote, kHostileName, kHostileName}};
  EXPECT_THAT(cluster_text(hostile_cluster(), findings), Not(HasSubstr("\x1b")));
  EXPECT_THAT(compare_text({kHostileName, hostile_cluster()}, {kHostileName, hostile_cluster()}),
              Not(HasSubstr("\x1b")));
}

TEST(ClusterText, ManyLinksAreCutToTheSlowest) {
  ClusterProfile cluster = cluster_of(12);
  cluster.links.back().bytes_per_second = 12345;
  const std::string text = cluster_text(cluster, {});
  EXPECT_THAT(text, HasSubstr("the 28 slowest of 66 links"));
  EXPECT_THAT(text, HasSubstr("12.3 kB/s"));
}

TEST(ClusterJson, HoldsMetricsDevicesAndFindings) {
  const auto json =
      nlohmann::json::parse(cluster_json(cluster_of(2), {{Severity::kWarn, "what", "do"}}));
  EXPECT_EQ(json["metrics"]["ranks"], 2);
  EXPECT_EQ(json["metrics"]["power, all ranks busy"], nullptr) << "not measured is null";
  EXPECT_NEAR(json["devices"][1]["block_seconds"], 24e-3, 1e-9);
  EXPECT_EQ(json["findings"][0]["what_to_do"], "do");
}

TEST(ClusterCompare, SaysHowManyTimesBetterTheSecondIs) {
  ClusterProfile faster = cluster_of(2);
  for (DeviceProfile& device : faster.devices) {
    for (LayerCurve& curve : device.curves)
      for (LayerSeconds& at : curve.at) {
        at.forward /= 2;
        at.backward_input /= 2;
        at.backward_weight /= 2;
      }
    device.storage_sync_seconds *= 4;
  }
  const std::string text = compare_text({"a", cluster_of(2)}, {"b", faster});
  EXPECT_THAT(text,
              testing::ContainsRegex("block of one grain, slowest +48.00 ms +24.00 ms +2.00 x"));
  EXPECT_THAT(text, testing::ContainsRegex("storage sync +2.00 ms +8.00 ms +0.25 x"));
  EXPECT_THAT(text, Not(HasSubstr("power"))) << "what neither measured is left out";
  EXPECT_THAT(text, Not(HasSubstr("other layers")));
}

TEST(ClusterCompare, OtherLayersAreNamed) {
  ClusterProfile other = cluster_of(2);
  other.measured.hidden_size = 64;
  const std::string text = compare_text({"a", cluster_of(2)}, {"b", other});
  EXPECT_THAT(text, HasSubstr("other layers"));
  EXPECT_THAT(text, testing::ContainsRegex("slowest +48.00 ms +48.00 ms *\n")) << "no ratio";
  EXPECT_THAT(text, testing::ContainsRegex("storage sync +2.00 ms +2.00 ms +1.00 x"));
  EXPECT_THAT(compare_html({"a", cluster_of(2)}, {"b", other}), HasSubstr("other layers"));
}

}  // namespace
}  // namespace kente
