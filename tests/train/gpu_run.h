#pragma once

#include <gtest/gtest.h>

#include <string>

#include "csrc/base/errors.h"
#include "csrc/train/rank_device.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/train/exact_run.h"

namespace kente {

/// Runs on pretended GPUs, a thread a rank.
class GpuRun : public ExactRun {
 protected:
  GpuRun() {
    Recipe& recipe = options_.train.recipe;
    recipe.model.hidden_size = 16;
    recipe.model.intermediate_size = 32;
    recipe.model.num_hidden_layers = 2;
    recipe.model.num_attention_heads = recipe.model.num_key_value_heads = 1;
    recipe.sequence_length = 8;
    recipe.global_batch_tokens = 4 * 8;
    recipe.steps = 4;
    recipe.lr.warmup_steps = 1;
    options_.train.snapshots = directory_ / "memory";
    on_gpus(true);
  }

  void on_gpus(bool gpus) {
    options_.train_rank = [this, gpus](const TrainOptions& options, Communicator& world,
                                       FileSystem& files, Log& log) {
      RankDevice device(
          world, "node",
          {.device = gpus ? DeviceChoice::kGpu : DeviceChoice::kCpu, .transport = transport_},
          options.recipe.model);
      TrainOptions own = options;
      own.ops = &device.ops();
      own.tensors = device.tensors();
      own.device = device.gpu().name;
      return kente::train(own, device.world(), files, log);
    };
  }

  /// Trains until a rank dies after a step's end.
  void die(const Plan& plan, int ranks, int64_t step) {
    options_.train.start = StartMode::kFresh;
    options_.train.plan = plan;
    options_.run_directories = {fresh_directory()};
    options_.on_step = [step, ranks](int rank, const StepReport& report) {
      if (report.step == step && rank == ranks - 1) throw StorageError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, ranks), StorageError);
    options_.on_step = nullptr;
  }

  ThreadedRun resume(const Plan& plan, int ranks) {
    options_.train.start = StartMode::kResume;
    options_.train.plan = plan;
    return train_on_threads(options_, ranks);
  }

  std::string file(const std::string& name) const {
    return read_bytes(options_.run_directories.front() + "/" + name);
  }

  TransportChoice transport_ = TransportChoice::kAuto;
  const Plan one_ = plan_from_borders({{0, 4}}, {4});
  const Plan two_by_two_ = plan_from_borders({{0, 2, 4}, {0, 3, 4}}, {3, 1});
  const Plan three_ = plan_from_borders({{0, 4}, {0, 4}, {0, 4}}, {2, 1, 1});
};

}  // namespace kente
