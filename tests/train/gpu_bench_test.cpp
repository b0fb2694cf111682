// kente bench on pretended GPUs.
#include <gtest/gtest.h>

#include "csrc/base/file_system.h"
#include "csrc/base/log_file.h"
#include "csrc/measure/bench.h"
#include "csrc/train/rank_device.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/on_threads.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

TEST(GpuBench, MeasuresGpusAndWhatIsBetweenThem) {
  TemporaryDirectory out;
  BenchOptions options;
  options.recipe = small_recipe(ModelFamily::kGpt2);
  options.recipe.model.num_hidden_layers = 1;
  options.recipe.sequence_length = 8;
  options.recipe.global_batch_tokens = 8;
  options.recipe.numerics.substitutes = {DType::kBF16};
  options.out_directory = out.path();
  options.build_id = "b";
  options.mpi_version = "threads";
  pretend::PretendNode node(2, 1, {.memory_bytes = int64_t{3} << 30});
  std::vector<Measurement> of(2);
  on_threads(2, [&](Communicator& ranks) {
    RankDevice device(ranks, "node", {}, options.recipe.model);
    BenchOptions own = options;
    own.ops = &device.ops();
    own.tensors = device.tensors();
    own.gpu = device.gpu();
    const auto files = posix_file_system();
    const auto log = null_log();
    of[static_cast<size_t>(ranks.rank())] = measure_cluster(own, device.world(), *files, *log);
    own.gpu = device.gpu();
    EXPECT_TRUE(still_holds(of[static_cast<size_t>(ranks.rank())].cluster, own, device.world()));
    own.gpu = {};
    EXPECT_FALSE(still_holds(of[static_cast<size_t>(ranks.rank())].cluster, own, device.world()));
  });
  EXPECT_EQ(of[0].cluster, of[1].cluster);
  for (const DeviceProfile& device : of[0].cluster.devices) {
    EXPECT_EQ(device.kind, "Pretended GPU");
    EXPECT_GT(device.memory_bytes, int64_t{2} << 30);
    EXPECT_LT(device.memory_bytes, int64_t{3} << 30);
    EXPECT_GT(device.copy_bytes_per_second, 0);
    EXPECT_GT(device.optimizer_seconds_per_parameter, 0);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const LayerCurve* block = device.curve(LayerKind::kBlock, dtype);
      ASSERT_TRUE(block) << name_of(dtype);
      EXPECT_GT(block->at.at(0).forward, 0);
      EXPECT_GT(block->at.at(0).backward_input, 0);
      EXPECT_GT(block->at.at(0).backward_weight, 0);
    }
  }
  ASSERT_EQ(of[0].cluster.links.size(), 1u);
  EXPECT_GT(of[0].cluster.links[0].reduce_bytes_per_second, 0);
}

}  // namespace
}  // namespace kente
