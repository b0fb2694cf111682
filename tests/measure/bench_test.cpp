#include "csrc/measure/bench.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <mutex>

#include "comm/local.h"
#include "csrc/base/errors.h"
#include "csrc/base/log_file.h"
#include "csrc/measure/layers.h"
#include "csrc/measure/storage.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/on_threads.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

/// 4 grains a step, so that micro-batches of 1, 2 and 4 are measured.
Recipe recipe() {
  Recipe recipe = small_recipe(ModelFamily::kGpt2);
  recipe.numerics.reduction = Reduction::kFast;
  recipe.global_batch_tokens = 4 * recipe.sequence_length;
  return recipe;
}

ImitatedRank device(double speed) {
  ImitatedRank rank;
  rank.kind = "imitated";
  rank.waits = true;
  rank.embedding = {.forward = 2e-3, .backward_input = 2e-3, .backward_weight = 2e-3};
  rank.block = {.forward = 32e-3, .backward_input = 40e-3, .backward_weight = 32e-3};
  rank.head = {.forward = 16e-3, .loss = 8e-3, .backward_input = 16e-3, .backward_weight = 16e-3};
  rank.speed = speed;
  rank.fixed = 0.25;
  rank.exponent = 0.9;
  rank.noise = 0.05;
  return rank;
}

double total(const LayerSeconds& at) {
  return at.forward + at.loss + at.backward_input + at.backward_weight;
}

/// A micro-batch of so many grains on a device of speed 1.
double imitated(const LayerCurve& curve, int64_t grains) {
  const double one = curve.layer == LayerKind::kBlock  ? 104e-3
                     : curve.layer == LayerKind::kHead ? 56e-3
                                                       : 6e-3;
  return one * (0.25 + 0.75 * std::pow(static_cast<double>(grains), 0.9));
}

/// A rank's own time, which passes only while its device waits: computing takes none, and no other
/// program can take any.
PaceClock clock_of_waits() {
  const auto time = std::make_shared<int64_t>(1);
  return {.now = [time] { return *time; }, .nap = [time](int64_t at) { *time = at; }};
}

TEST(MeasureLayers, FindsTheTimesOfImitatedDevicesAndTheirCurve) {
  at::set_num_threads(1);
  std::vector<LayerMeasurement> of(4);
  on_threads(4, [&](Communicator& world) {
    const auto rank = static_cast<size_t>(world.rank());
    of[rank] = measure_layers({.recipe = recipe(),
                               .memory_bytes = int64_t{1} << 40,
                               .device = device(std::pow(2, rank)),
                               .fewest_rounds = 20,
                               .seconds = 60,
                               .clock = clock_of_waits()},
                              world);
  });
  for (size_t rank = 0; rank < of.size(); ++rank) {
    const double speed = std::pow(2, rank);
    ASSERT_EQ(of[rank].curves.size(), 3u);
    for (const LayerCurve& curve : of[rank].curves) {
      ASSERT_EQ(curve.at.size(), 3u) << "1, 2 and 4 grains";
      for (const LayerSeconds& at : curve.at)
        EXPECT_NEAR(total(at) * speed / imitated(curve, at.grains), 1, 0.02)
            << "rank " << rank << ", " << at.grains << " grains, noise of 5 % a pass";
      EXPECT_GT(curve.at[0].spread, 0.001);
      EXPECT_LT(curve.at[0].spread, 0.05);
    }
    const LayerSeconds& block = of[rank].curves[1].at[0];
    EXPECT_NEAR(block.backward_input / block.forward, 1.25, 0.04);
    EXPECT_NEAR(of[rank].curves[2].at[0].loss * speed, 8e-3, 3e-4);
  }
}

TEST(MeasureLayers, UnderExactGrainsRunSingly) {
  Recipe exact = recipe();
  exact.numerics.reduction = Reduction::kExact;
  const auto world = make_single();
  const LayerMeasurement measured = measure_layers(
      {.recipe = exact, .memory_bytes = int64_t{1} << 40, .fewest_rounds = 1, .seconds = 0.2},
      *world);
  for (const LayerCurve& curve : measured.curves) {
    ASSERT_EQ(curve.at.size(), 1u);
    EXPECT_EQ(curve.at[0].grains, 1);
    EXPECT_GT(curve.at[0].forward, 0);
    EXPECT_GT(curve.at[0].backward_weight, 0);
  }
}

TEST(MeasureLayers, ADeviceTooSmallForOneBlockSaysSo) {
  const auto world = make_single();
  try {
    measure_layers({.recipe = recipe(), .memory_bytes = 1 << 10}, *world);
    FAIL() << "it fitted";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("one block with embedding and head needs"));
  }
}

TEST(MeasureCluster, EveryRankGetsTheSameValidProfileThatStillHolds) {
  at::set_num_threads(1);
  TemporaryDirectory out;
  BenchOptions options;
  options.recipe = recipe();
  options.recipe.global_batch_tokens = options.recipe.sequence_length;
  options.recipe.numerics.substitutes = {DType::kBF16};
  options.out_directory = out.path();
  options.build_id = "b";
  options.mpi_version = "threads";
  options.imitation = Imitation{.seed = 1, .ranks = {device(32), device(16)}};
  for (ImitatedRank& rank : options.imitation->ranks) rank.noise = 0;
  options.imitation->ranks[1].memory_bytes = 1'234'567'890;
  std::vector<Measurement> of(2);
  on_threads(2, [&](Communicator& world) {
    const auto files = posix_file_system();
    const auto log = null_log();
    const auto rank = static_cast<size_t>(world.rank());
    of[rank] = measure_cluster(options, world, *files, *log);
    EXPECT_TRUE(still_holds(of[rank].cluster, options, world));
    BenchOptions other = options;
    other.build_id = "another";
    EXPECT_FALSE(still_holds(of[rank].cluster, other, world));
    other = options;
    other.imitation->ranks[0].speed = 7;
    EXPECT_FALSE(still_holds(of[rank].cluster, other, world));
  });
  EXPECT_EQ(of[0].cluster, of[1].cluster);
  EXPECT_EQ(of[0].findings, of[1].findings);
  const ClusterProfile& cluster = of[0].cluster;
  EXPECT_EQ(parse_cluster(to_text(cluster), "c", options.recipe), cluster);
  ASSERT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.devices[1].memory_bytes, 1'234'567'890);
  for (const DeviceProfile& device : cluster.devices) {
    EXPECT_GT(device.ceilings.at(0).flops_per_second, 0);
    EXPECT_EQ(device.ceilings.at(1).compute, DType::kBF16);
    for (const LayerKind kind : {LayerKind::kEmbedding, LayerKind::kBlock, LayerKind::kHead})
      for (const DType dtype : {DType::kF32, DType::kBF16})
        EXPECT_TRUE(device.curve(kind, dtype)) << name_of(dtype);
    EXPECT_GT(device.copy_bytes_per_second, 0);
    EXPECT_GT(device.storage_bytes_per_second, 0);
    EXPECT_GT(device.storage_sync_seconds, 0);
  }
  ASSERT_EQ(cluster.links.size(), 1u);
  EXPECT_GT(cluster.links[0].busy_bytes_per_second, 0);
  EXPECT_GT(cluster.links[0].reduce_bytes_per_second, 0);
  EXPECT_LE(cluster.links[0].busy_bytes_per_second, cluster.links[0].bytes_per_second);
  EXPECT_TRUE(posix_file_system()->list(out.path()).empty()) << "nothing is left behind";
}

TEST(MeasureCluster, UnlikeBuildsAreRefusedBeforeAnythingIsMeasured) {
  std::mutex mutex;
  std::vector<std::string> said;
  EXPECT_THROW(on_threads(2,
                          [&](Communicator& world) {
                            BenchOptions options;
                            options.recipe = recipe();
                            options.build_id = world.rank() == 0 ? "a" : "b";
                            options.progress = [&](const std::string& what) {
                              const std::lock_guard lock(mutex);
                              said.push_back(what);
                            };
                            const auto files = posix_file_system();
                            const auto log = null_log();
                            measure_cluster(options, world, *files, *log);
                          }),
               UsageError);
  EXPECT_THAT(said, testing::Each("looking at the machines"));
}

TEST(MeasureStorage, LeavesNothingAndReplacesWhatAKilledBenchLeft) {
  FaultyFileSystem files;
  files.make_directories("/out");
  files.create("/out/.bench")->append("old", 3);
  const StorageSpeed speed = measure_storage(files, "/out", ".bench", 3 << 20);
  EXPECT_GT(speed.bytes_per_second, 0);
  EXPECT_GT(speed.sync_seconds, 0);
  EXPECT_TRUE(files.list("/out").empty());
}

}  // namespace
}  // namespace kente
