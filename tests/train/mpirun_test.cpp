#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "csrc/base/clock.h"
#include "csrc/config/parse.h"
#include "tests/support/processes.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/train_on_threads.h"

namespace kente {
namespace {

constexpr double kLimit = 120;  // seconds for one command

/// The real program under the real mpirun; see exact_test for the same claims with threads.
class Mpirun : public testing::Test {
 protected:
  Mpirun() {
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
  std::string train(const std::string& run, const std::string& more = "") {
    return std::string(KENTE_BINARY_DIR) + "/bin/kente train --recipe " +
           directory_ / "recipe.textproto" + " --data " + directory_.path() + " --out " +
           directory_ / run + " " + more;
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

TEST_F(Mpirun, SevenWaysToRunOneRecipeGiveTheSameBits) {
  run(train("one"));
  const auto expected = losses("one");
  ASSERT_EQ(expected.size(), 30u);
  const auto check = [&](const std::string& name) {
    EXPECT_EQ(losses(name), expected) << name;
    EXPECT_EQ(digest(name), digest("one")) << name;
  };
  run(mpirun(2) + train("two_stages", plan("p2", plan_from_borders({{0, 3, 6}}, {16}))));
  check("two_stages");
  const std::string four = plan("p4", plan_from_borders({{0, 1, 3, 5, 6}}, {16}));
  run(mpirun(4) + train("four_stages", four));
  check("four_stages");
  run(mpirun(2) + train("two_replicas", plan("p11", plan_from_borders({{0, 6}, {0, 6}}, {8, 8}))));
  check("two_replicas");
  run(mpirun(3) + train("unequal", plan("p21", plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4}))));
  check("unequal");
  Plan sharded = plan_from_borders({{0, 4, 6}, {0, 6}}, {12, 4});
  sharded.shard_optimizer = true;
  sharded.replicas[0].stages[0].optimizer_weight = 3;
  sharded.replicas[1].stages[0].optimizer_weight = 1;
  run(mpirun(3) + train("sharded", plan("ps", sharded)));
  check("sharded");

  {
    Process doomed(mpirun(4) + train("killed", four + "--checkpoint-every 5"));
    const Deadline deadline = Deadline::after_seconds(kLimit);
    while (losses("killed").size() < 17 && !deadline.passed() && doomed.running())
      ::poll(nullptr, 0, 1);
    const auto victim = find_rank(2, directory_ / "killed");
    ASSERT_TRUE(victim.has_value()) << doomed.wait(1).output;
    ::kill(*victim, SIGKILL);
    EXPECT_NE(doomed.wait(kLimit).status, 0);
    EXPECT_LT(losses("killed").size(), 30u);
  }
  run(mpirun(2) + train("killed", "--resume --plan even"));
  check("killed");
}

TEST_F(Mpirun, APeerThatDiesEndsTheRunWithoutAHang) {
  Process doomed(mpirun(2) + train("dead", "--set steps=100000"));
  const Deadline deadline = Deadline::after_seconds(kLimit);
  while (losses("dead").size() < 3 && !deadline.passed()) ::poll(nullptr, 0, 5);
  const auto victim = find_rank(1, directory_ / "dead");
  ASSERT_TRUE(victim.has_value());
  ::kill(*victim, SIGKILL);
  const int64_t begin = now_ns();
  EXPECT_NE(doomed.wait(kLimit).status, 0);
  EXPECT_LT(static_cast<double>(now_ns() - begin) * 1e-9, 20);
}

TEST_F(Mpirun, BadInputGivesOneLineAndStatus2) {
  const CommandResult unknown =
      run_command(mpirun(2) + train("bad", "--set model.hidden_sise=3"), kLimit);
  EXPECT_NE(unknown.output.find("hidden_sise"), std::string::npos) << unknown.output;
  const std::string mark = "kente: ";
  EXPECT_EQ(unknown.output.find(mark, unknown.output.find(mark) + 1), std::string::npos)
      << unknown.output;
  const CommandResult missing =
      run_command(train("bad2", "--set data.source[0].id=nowhere"), kLimit);
  EXPECT_EQ(missing.status, 2) << missing.output;
  EXPECT_NE(missing.output.find("nowhere"), std::string::npos) << missing.output;
}

}  // namespace
}  // namespace kente
