#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"
#include "tests/support/train_on_threads.h"

namespace kente {

/// Runs of one small EXACT recipe under this plan and that, with a thread a rank.
class ExactRun : public testing::Test {
 protected:
  ExactRun() {
    options_.train.recipe = small_recipe(ModelFamily::kGpt2);
    Recipe& recipe = options_.train.recipe;
    recipe.data.sources[0].digest =
        write_learnable_source(directory_.path(), recipe.model.vocab_size);
    recipe.optimizer.clip_norm = 0.5;
    options_.train.data_directory = directory_.path();
  }

  std::string fresh_directory() { return directory_ / ("run" + std::to_string(runs_++)); }

  ThreadedRun train(const Plan& plan, int ranks) {
    options_.train.plan = plan;
    options_.run_directories = {fresh_directory()};
    return train_on_threads(options_, ranks);
  }

  TemporaryDirectory directory_;
  ThreadedOptions options_;
  int runs_ = 0;
};

inline void expect_same(const ThreadedRun& run, const ThreadedRun& reference) {
  EXPECT_EQ(run.loss_bits(), reference.loss_bits());
  EXPECT_EQ(run.result.parameters_sha256, reference.result.parameters_sha256);
}

}  // namespace kente
