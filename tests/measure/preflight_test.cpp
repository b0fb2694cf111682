#include "csrc/measure/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "csrc/base/errors.h"
#include "tests/support/small_recipes.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Ranks that nothing is wrong with: two on each of two nodes.
std::vector<RankFacts> good_ranks() {
  std::vector<RankFacts> ranks(4);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    RankFacts& facts = ranks[rank];
    facts.host.name = rank < 2 ? "n1" : "n2";
    facts.host.cpu_vendor = "GenuineIntel";
    facts.host.cpu_model = "Xeon";
    facts.host.instructions = "avx2 avx512f";
    facts.host.cores = 2;
    facts.host.memory_bytes = facts.host.free_bytes = int64_t{1} << 34;
    facts.host.shm_bytes = int64_t{1} << 30;
    facts.host.interfaces = {"eth0", "lo"};
    facts.kind = "Xeon, 1 thread";
    facts.build = facts.libtorch = facts.mpi = facts.recipe_sha256 = "1";
  }
  return ranks;
}

std::vector<Finding> check(const std::vector<RankFacts>& ranks) {
  return check_facts(ranks, small_recipe(ModelFamily::kGpt2));
}

testing::Matcher<Finding> finding(Severity severity, const std::string& what) {
  return testing::AllOf(testing::Field(&Finding::severity, severity),
                        testing::Field(&Finding::what, HasSubstr(what)),
                        testing::Field(&Finding::what_to_do, testing::Not(IsEmpty())));
}

TEST(Preflight, FindsNothingWrongWithGoodRanks) { EXPECT_THAT(check(good_ranks()), IsEmpty()); }

TEST(Preflight, StopsUnlikeBuildsLibrariesAndRecipes) {
  auto ranks = good_ranks();
  ranks[2].build = "2";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kStop, "build of kente of rank 2 (n2)")));
  ranks = good_ranks();
  ranks[3].libtorch = "2";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kStop, "libtorch of rank 3")));
  ranks = good_ranks();
  ranks[1].mpi = "2";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kStop, "MPI library of rank 1")));
  ranks = good_ranks();
  ranks[1].recipe_sha256 = "2";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kStop, "recipe of rank 1")));
}

TEST(Preflight, NamesMixedProcessors) {
  auto ranks = good_ranks();
  ranks[3].host.cpu_vendor = "AuthenticAMD";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "several makers")));
  ranks = good_ranks();
  ranks[3].host.instructions = "avx2";
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "other instruction sets")));
}

TEST(Preflight, NamesTheClockThatIsFarthestOff) {
  auto ranks = good_ranks();
  ranks[1].clock_offset_seconds = 0.1;
  ranks[2].clock_offset_seconds = -3;
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "rank 2 (n2) is 3.0 s behind")));
}

TEST(Preflight, NamesMoreRanksThanCores) {
  auto ranks = good_ranks();
  ranks[0].host.cores = ranks[1].host.cores = 1;
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "n1: 2 ranks share 1 cores")));
  ranks[0].imitation = ranks[1].imitation = "waits";
  EXPECT_THAT(check(ranks), IsEmpty());
}

TEST(Preflight, NamesLittleSharedMemory) {
  auto ranks = good_ranks();
  ranks[2].host.shm_bytes = ranks[3].host.shm_bytes = 1 << 20;
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "/dev/shm has 1 MiB for 2")));
}

TEST(Preflight, NamesAModelThatFitsNowhere) {
  auto ranks = good_ranks();
  for (RankFacts& rank : ranks) rank.host.free_bytes = 1 << 10;
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kWarn, "state alone takes")));
}

TEST(Preflight, NamesInterfacesThatLeadNowhereBetweenNodes) {
  auto ranks = good_ranks();
  ranks[2].host.interfaces.push_back("docker0");
  EXPECT_THAT(check(ranks), ElementsAre(finding(Severity::kNote, "docker0")));
  for (RankFacts& rank : ranks) rank.host.name = "n1";
  for (RankFacts& rank : ranks) rank.host.cores = 4;
  EXPECT_THAT(check(ranks), IsEmpty()) << "on one node nothing goes over an interface";
}

/// A profile of the ranks: blocks of 3 ms, links of 1 GB/s.
ClusterProfile profile_of(const std::vector<RankFacts>& ranks) {
  ClusterProfile cluster;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    DeviceProfile device;
    device.id = "rank-" + std::to_string(rank);
    device.node = ranks[rank].host.name;
    device.curves = {
        {.layer = LayerKind::kBlock,
         .at = {{.grains = 1, .forward = 1e-3, .backward_input = 1e-3, .backward_weight = 1e-3}}}};
    cluster.devices.push_back(device);
  }
  for (size_t a = 0; a < ranks.size(); ++a)
    for (size_t b = a + 1; b < ranks.size(); ++b)
      cluster.links.push_back({.from = cluster.devices[a].id,
                               .to = cluster.devices[b].id,
                               .bytes_per_second = 1e9,
                               .busy_bytes_per_second = 1e9});
  return cluster;
}

TEST(Preflight, NamesARankThatIsSlowerThanItsLike) {
  auto ranks = good_ranks();
  ClusterProfile cluster = profile_of(ranks);
  EXPECT_THAT(check_profile(cluster, ranks), IsEmpty());
  cluster.devices[2].curves[0].at[0].forward = 4e-3;
  EXPECT_THAT(check_profile(cluster, ranks),
              ElementsAre(finding(Severity::kWarn, "rank 2 (n2) takes 2.00 times as long")));
  ranks[2].kind = "an older one";
  EXPECT_THAT(check_profile(cluster, ranks), IsEmpty()) << "an unlike one may be slow";
}

TEST(Preflight, NamesALinkThatIsSlowerThanItsLike) {
  const auto ranks = good_ranks();
  ClusterProfile cluster = profile_of(ranks);
  // 0-1 and 2-3 lie inside nodes, the other four between them.
  for (LinkProfile& link : cluster.links)
    if (link.from == "rank-0" && link.to == "rank-3") link.busy_bytes_per_second = 2e8;
  EXPECT_THAT(check_profile(cluster, ranks),
              ElementsAre(finding(Severity::kWarn, "link rank-0 - rank-3 carries 200 MB/s")));
}

TEST(RankFacts, AnswerToTheirTextAndRefuseAnother) {
  RankFacts facts = good_ranks()[0];
  facts.clock_offset_seconds = 0.25;
  facts.host.name = "\"<b>\xff";
  RankFacts read = parse_facts(to_json(facts));
  read.host.name = facts.host.name;  // bytes that are no text are replaced
  EXPECT_EQ(read, facts);
  EXPECT_THROW(parse_facts("{}"), FormatError);
  EXPECT_THROW(parse_facts("not json"), FormatError);
}

TEST(MachineDigest, ChangesWithWhatTheTimesDependOn) {
  const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  const auto digest = [&](const std::vector<RankFacts>& ranks, const Recipe& of) {
    return machine_digest(ranks, 0, of);
  };
  const std::string good = digest(good_ranks(), recipe);
  EXPECT_EQ(digest(good_ranks(), recipe), good);
  auto ranks = good_ranks();
  ranks[0].host.free_bytes = 5;
  ranks[0].clock_offset_seconds = 1;
  EXPECT_EQ(digest(ranks, recipe), good) << "what differs from run to run does not count";
  const auto changed = [&](const std::function<void(RankFacts&)>& change) {
    auto other = good_ranks();
    change(other[0]);
    return digest(other, recipe) != good;
  };
  EXPECT_TRUE(changed([](RankFacts& f) { f.host.name = "x"; }));
  EXPECT_TRUE(changed([](RankFacts& f) { f.host.cpu_model = "x"; }));
  EXPECT_TRUE(changed([](RankFacts& f) { f.host.cores = 9; }));
  EXPECT_TRUE(changed([](RankFacts& f) { f.build = "x"; }));
  EXPECT_TRUE(changed([](RankFacts& f) { f.imitation = "x"; }));
  EXPECT_TRUE(changed([](RankFacts& f) { f.limits = "x"; }));
  ranks = good_ranks();
  ranks[1].host.name = "elsewhere";
  EXPECT_NE(digest(ranks, recipe), good) << "alone on its node a rank is faster";
  Recipe other = recipe;
  other.model.hidden_size = 64;
  EXPECT_NE(digest(good_ranks(), other), good);
  other = recipe;
  other.numerics.compute = DType::kBF16;
  EXPECT_NE(digest(good_ranks(), other), good);
  other = recipe;
  other.numerics.substitutes = {DType::kBF16};
  EXPECT_NE(digest(good_ranks(), other), good);
  other = recipe;
  other.steps = 9999;
  EXPECT_EQ(digest(good_ranks(), other), good) << "the layers are the same";
}

}  // namespace
}  // namespace kente
