#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <sstream>

#include "csrc/base/failpoint.h"
#include "tests/support/program_run.h"

namespace kente {
namespace {

/// What a process noted about a failpoint.
struct Noted {
  int64_t time_ms = 0;
  int rank = 0;
  int64_t incarnation = 0;
  std::string name, action;
};

/// What the supervisor noted about a start.
struct Event {
  int64_t time_ms = 0, step = 0, incarnation = 0;
  std::string kind, detail;
};

/// kente launch with ranks that end and freeze themselves at chosen points.
class KillPoints : public ProgramRun {
 protected:
  KillPoints() {
    ::setenv("KENTE_SHM_DIRECTORY", (directory_ / "shm").c_str(), 1);
    ::setenv("KENTE_FAILPOINTS_LOG", (directory_ / "points").c_str(), 1);
  }
  ~KillPoints() override {
    for (const char* name : {"KENTE_SHM_DIRECTORY", "KENTE_FAILPOINTS_LOG", "KENTE_FAILPOINTS"})
      ::unsetenv(name);
  }
  /// More than 5M parameters; on two cores steps of half a second.
  void use_large_model() {
    recipe_.model.vocab_size = 4096;
    recipe_.model.hidden_size = 256;
    recipe_.model.intermediate_size = 1024;
    recipe_.model.max_position_embeddings = recipe_.sequence_length = 128;
    recipe_.global_batch_tokens = int64_t{16} * 128;
    recipe_.data.sources[0].digest =
        write_learnable_source(directory_.path(), recipe_.model.vocab_size);
  }
  void use_steps(int64_t steps) {
    recipe_.steps = steps;
    write("recipe.textproto", to_text(recipe_));
  }
  std::vector<Noted> noted(const std::string& action) {
    std::vector<Noted> lines;
    std::ifstream file(directory_ / "points");
    Noted line;
    while (file >> line.time_ms >> line.rank >> line.incarnation >> line.name >> line.action)
      if (line.action == action) lines.push_back(line);
    return lines;
  }
  std::vector<Event> events(const std::string& run, const std::string& kind) {
    std::vector<Event> found;
    std::ifstream file(directory_ / run + "/events.jsonl");
    for (std::string text; std::getline(file, text);) {
      const auto object = nlohmann::json::parse(text, nullptr, false);
      if (object.is_discarded() || object.value("event", "") != kind) continue;
      found.push_back({.time_ms = object.value("time_ms", int64_t{0}),
                       .step = object.value("step", int64_t{0}),
                       .incarnation = object.value("incarnation", int64_t{0}),
                       .kind = kind,
                       .detail = object.value("detail", "")});
    }
    return found;
  }
  /// The steps of run.jsonl in the order in which they were done.
  std::vector<int64_t> steps_done(const std::string& run) {
    std::vector<int64_t> steps;
    std::ifstream file(directory_ / run + "/run.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto object = nlohmann::json::parse(line, nullptr, false);
      if (!object.is_discarded()) steps.push_back(object["step"]);
    }
    return steps;
  }
  CommandResult launch(const std::string& run, const std::string& failpoints,
                       const std::string& more, double limit) {
    ::setenv("KENTE_FAILPOINTS", failpoints.c_str(), 1);
    CommandResult result = run_command(
        "exec " + kente("launch", run, plan_ + "-n 4 --max-failures 1000 " + more), limit);
    ::unsetenv("KENTE_FAILPOINTS");
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_EQ(find_processes(directory_ / run), std::vector<pid_t>()) << "nothing is left over";
    return result;
  }

  /// Steps never go back by more than the one that was being done or had just been finished.
  void expect_at_most_one_step_done_again(const std::string& run) {
    const std::vector<int64_t> steps = steps_done(run);
    int64_t redone = 0;
    for (size_t i = 1; i < steps.size(); ++i) {
      EXPECT_GE(steps[i], steps[i - 1]) << "more than one finished step was done again";
      redone += steps[i] == steps[i - 1];
    }
    EXPECT_EQ(static_cast<int64_t>(steps.size()), recipe_.steps + redone) << "none is left out";
    std::cout << redone << " finished steps were done again\n";
  }
  /// From each death to the next finished step, where the next start finished one.
  std::vector<double> seconds_to_next_step(const std::string& run,
                                           const std::vector<Noted>& kills) {
    std::vector<double> seconds;
    const std::vector<Event> recovered = events(run, "recovered");
    for (const Noted& kill : kills)
      for (const Event& event : recovered)
        if (event.incarnation == kill.incarnation + 1)
          seconds.push_back(static_cast<double>(event.time_ms - kill.time_ms) * 1e-3);
    return seconds;
  }

  std::string plan_ = plan("plan", plan_from_borders({{0, 3, 6}, {0, 4, 6}}, {9, 7}));
};

double quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values.at(static_cast<size_t>(part * static_cast<double>(values.size() - 1)));
}

TEST_F(KillPoints, EveryFailpointIsReached) {
  recipe_.validation = {.every_steps = 10, .samples_per_source = 4};
  use_steps(30);
  Plan sharded = plan_from_borders({{0, 3, 6}, {0, 4, 6}}, {9, 7});
  sharded.shard_optimizer = true;
  plan_ = plan("sharded", sharded);
  launch("run", "phase.forward=kill@60:rank=2:incarnation=1", "--checkpoint-every 5 --keep 1", 120);
  std::set<std::string> reached;
  for (const Noted& line : noted("reached")) reached.insert(line.name);
  for (const std::string_view name : kFailpoints)
    EXPECT_TRUE(reached.contains(std::string(name))) << name;
}

/// Points of a class, and the most hits that one rank makes of each in two steps.
struct KillClass {
  const char* name;
  std::vector<std::pair<std::string, int>> points;
};

const std::vector<KillClass>& kill_classes() {
  static const std::vector<KillClass> classes = {
      {"forward", {{"phase.forward", 14}}},
      {"backward", {{"phase.backward", 14}}},
      {"between", {{"phase.message", 28}, {"comm.send", 14}, {"phase.data", 2}}},
      {"reduce", {{"phase.reduce", 8}, {"comm.collective", 12}}},
      {"optimizer", {{"phase.step", 2}, {"optimizer.group", 6}}},
      {"snapshot", {{"phase.snapshot", 2}, {"snapshot.copy", 40}, {"snapshot.seal", 2}}},
      {"save", {{"phase.save", 1}, {"storage.sync", 1}, {"storage.write", 1}}},
  };
  return classes;
}

/// So many deaths of each class in a random order, one a start; three of four in its second step,
/// because starts that finish no step are put off longer and longer.
std::string random_kills(int of_a_class, uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](size_t n) { return random() % n; };
  std::vector<std::string> kills;
  for (const KillClass& kind : kill_classes())
    for (int i = 0; i < of_a_class; ++i) {
      const auto& [point, hits] = kind.points[below(kind.points.size())];
      const auto half = static_cast<size_t>(hits / 2);
      const size_t hit = below(4) == 0 ? below(half + 1) : half + below(half + 1);
      kills.push_back(point + "=kill@" + std::to_string(std::max<size_t>(1, hit)) +
                      ":rank=" + std::to_string(below(4)));
    }
  std::shuffle(kills.begin(), kills.end(), random);
  std::string all;
  for (size_t i = 0; i < kills.size(); ++i)
    all += (i ? "," : "") + kills[i] + ":incarnation=" + std::to_string(i + 1);
  return all;
}

TEST_F(KillPoints, AHundredDeathsInEveryPhaseCostAStepEachAndNotABit) {
  use_large_model();
  use_steps(260);
  constexpr double kHour = 3600;
  launch("alone", "", "--checkpoint-every 2", kHour);
  launch("run", random_kills(15, 20261125), "--checkpoint-every 2", kHour);

  const std::vector<Noted> kills = noted("kill");
  EXPECT_GE(kills.size(), 100u);
  for (const KillClass& kind : kill_classes()) {
    int deaths = 0;
    for (const Noted& kill : kills)
      for (const auto& [point, hits] : kind.points) deaths += point == kill.name;
    std::cout << kind.name << ": " << deaths << " deaths\n";
    EXPECT_GE(deaths, 10) << kind.name;
  }
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
  EXPECT_EQ(digest("run").size(), 64u);
  expect_at_most_one_step_done_again("run");
  const std::vector<double> seconds = seconds_to_next_step("run", kills);
  ASSERT_GE(seconds.size(), 40u);
  std::cout << seconds.size() << " of " << kills.size()
            << " deaths followed by a finished step of the next start: p50 "
            << quantile(seconds, 0.5) << " s, p99 " << quantile(seconds, 0.99) << " s\n";
}

TEST_F(KillPoints, AFrozenAndADeadlockedRankAreNoticedInTimeAndTheRunGoesOn) {
  use_large_model();
  use_steps(24);
  launch("alone", "", "--checkpoint-every 10", 600);
  launch("run",
         "phase.backward=stop@20:rank=1:incarnation=1,"
         "phase.forward=hang@20:rank=2:incarnation=2,"
         "optimizer.group=hang@8:rank=0:incarnation=3,"
         "phase.message=stop@30:rank=3:incarnation=4",
         "--checkpoint-every 10", 600);
  std::vector<Noted> faults = noted("stop");
  for (const Noted& hang : noted("hang")) faults.push_back(hang);
  ASSERT_EQ(faults.size(), 4u);
  const std::vector<Event> failures = events("run", "failure"),
                           recovered = events("run", "recovered");
  for (const Noted& fault : faults) {
    for (const Event& failure : failures) {
      if (failure.incarnation != fault.incarnation) continue;
      const double noticed = static_cast<double>(failure.time_ms - fault.time_ms) * 1e-3;
      std::cout << fault.name << " " << fault.action << ": over after " << noticed
                << " s: " << failure.detail << "\n";
      EXPECT_LE(noticed, 15);
    }
    for (const Event& again : recovered) {
      if (again.incarnation != fault.incarnation + 1) continue;
      const double seconds = static_cast<double>(again.time_ms - fault.time_ms) * 1e-3;
      std::cout << "  a step finished again after " << seconds << " s\n";
      EXPECT_LE(seconds, 15);
    }
  }
  EXPECT_EQ(recovered.size(), 4u);
  EXPECT_EQ(losses("run"), losses("alone"));
  EXPECT_EQ(digest("run"), digest("alone"));
}

}  // namespace
}  // namespace kente
