#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "csrc/base/clock.h"
#include "csrc/config/parse.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {

/// Runs of the real program on one small EXACT recipe, in a directory of their own.
class ProgramRun : public testing::Test {
 protected:
  static constexpr double kLimit = 120;  // seconds for one command

  ProgramRun() {
    recipe_ = small_recipe(ModelFamily::kGpt2);
    recipe_.model.hidden_size = 64;
    recipe_.model.intermediate_size = 256;
    recipe_.model.max_position_embeddings = recipe_.sequence_length = 64;
    recipe_.global_batch_tokens = int64_t{16} * 64;
    recipe_.optimizer.clip_norm = 0.5;
    recipe_.data.sources[0].digest =
        write_learnable_source(directory_.path(), recipe_.model.vocab_size);
    write("recipe.textproto", to_text(recipe_));
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ / name) << text;
  }
  /// A file that is not there yet is empty.
  std::string read(const std::string& name) const {
    std::ifstream file(directory_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// False when the program ended or the time was over before.
  static bool until(Process& program, const std::function<bool()>& is_true) {
    const Deadline deadline = Deadline::after_seconds(kLimit);
    while (!is_true()) {
      if (deadline.passed() || !program.running()) return false;
      ::poll(nullptr, 0, 2);
    }
    return true;
  }
  /// "kente COMMAND ...": the recipe, its data and the run's directory are added.
  std::string kente(const std::string& command, const std::string& run,
                    const std::string& more = "") {
    return std::string(KENTE_BINARY_DIR) + "/bin/kente " + command + " --recipe " +
           directory_ / "recipe.textproto" + " --data " + directory_.path() + " --out " +
           directory_ / run + " " + more;
  }
  std::string train(const std::string& run, const std::string& more = "") {
    return kente("train", run, more);
  }
  std::string plan(const std::string& name, const Plan& plan) {
    write(name, to_text(plan));
    return "--plan " + directory_ / name + " ";
  }
  CommandResult run(const std::string& command) {
    CommandResult result = run_command(command, kLimit);
    EXPECT_EQ(result.status, 0) << command << "\n" << result.output;
    return result;
  }
  /// step -> loss_bits; the last line of a step wins.
  std::map<int64_t, std::string> losses(const std::string& run) {
    std::map<int64_t, std::string> bits;
    std::ifstream file(directory_ / run + "/run.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto object = nlohmann::json::parse(line, nullptr, false);
      if (!object.is_discarded()) bits[object["step"]] = object["loss_bits"];
    }
    return bits;
  }
  std::string digest(const std::string& run) {
    std::ifstream file(directory_ / run + "/events.jsonl");
    std::string digest;
    for (std::string line; std::getline(file, line);)
      if (const size_t at = line.find("parameters_sha256 "); at != std::string::npos)
        digest = line.substr(at + 18, 64);
    return digest;
  }

  TemporaryDirectory directory_;
  Recipe recipe_;
};

}  // namespace kente
