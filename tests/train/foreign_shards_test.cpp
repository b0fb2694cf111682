#include <gtest/gtest.h>

#include <filesystem>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "tests/train/exact_run.h"

namespace kente {
namespace {

namespace fs = std::filesystem;

/// A run of two ranks with checkpoints of step 5 and 10 that ended in step 12, and what somebody
/// did to its files before it is resumed.
class ForeignShards : public ExactRun {
 protected:
  ForeignShards() {
    options_.train.recipe.steps = 16;
    options_.train.plan = plan_from_borders({{0, 3, 6}}, {16});
    options_.train.checkpoint_every = 5;
    reference_ = train(options_.train.plan, 2);
  }
  /// The newest step's directory of a new run that was interrupted.
  fs::path newest() {
    options_.run_directories = {fresh_directory()};
    options_.on_step = [](int, const StepReport& report) {
      if (report.step == 12) throw DeviceError("killed on purpose");
    };
    EXPECT_THROW(train_on_threads(options_, 2), DeviceError);
    options_.on_step = nullptr;
    return fs::path(options_.run_directories[0]) / "ckpt" / step_directory(10);
  }
  void expect_resumed_from(int64_t step) {
    options_.train.start = StartMode::kResume;
    const ThreadedRun run = train_on_threads(options_, 2);
    EXPECT_EQ(run.result.resumed_from, step);
    EXPECT_EQ(run.result.parameters_sha256, reference_.result.parameters_sha256);
  }

  static constexpr const char* kFirst = "rank-0000.safetensors";
  static constexpr const char* kSecond = "rank-0001.safetensors";
  ThreadedRun reference_;
};

TEST_F(ForeignShards, AMissingOneSendsTrainingBackToTheOlderStep) {
  fs::remove(newest() / kSecond);
  expect_resumed_from(5);
}

TEST_F(ForeignShards, AFileThatTheManifestDoesNotNameIsNobodys) {
  const fs::path step = newest();
  fs::copy_file(step / kFirst, step / "rank-0007.safetensors");
  expect_resumed_from(10);
}

TEST_F(ForeignShards, SwappedOnesAreNotRead) {
  const fs::path step = newest();
  fs::rename(step / kFirst, step / "aside");
  fs::rename(step / kSecond, step / kFirst);
  fs::rename(step / "aside", step / kSecond);
  expect_resumed_from(5);
}

TEST_F(ForeignShards, OneOfAnotherStepOfTheSameSizeIsNotRead) {
  const fs::path step = newest();
  const fs::path older = step.parent_path() / step_directory(5);
  ASSERT_EQ(fs::file_size(step / kSecond), fs::file_size(older / kSecond));
  fs::copy_file(older / kSecond, step / kSecond, fs::copy_options::overwrite_existing);
  expect_resumed_from(5);
}

TEST_F(ForeignShards, AManifestOfAnotherStepIsNotRead) {
  const fs::path step = newest();
  fs::copy_file(step.parent_path() / step_directory(5) / "MANIFEST.json", step / "MANIFEST.json",
                fs::copy_options::overwrite_existing);
  expect_resumed_from(5);
}

TEST_F(ForeignShards, AWholeStepOfAnotherRunIsRefusedNamingBothRuns) {
  const fs::path other = newest();
  const fs::path step = newest();
  fs::remove_all(step);
  fs::copy(other, step, fs::copy_options::recursive);
  options_.train.start = StartMode::kResume;
  try {
    train_on_threads(options_, 2);
    ADD_FAILURE() << "two runs in one directory";
  } catch (const UsageError& refusal) {
    const std::string what = refusal.what();
    EXPECT_NE(what.find(step_directory(5)), std::string::npos) << what;
    EXPECT_NE(what.find(step_directory(10)), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace kente
