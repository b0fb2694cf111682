/// kente-plan: recipe + cluster profile -> plan, as a table, a file, JSON, a trace and a picture.
/// Exit status: 0 done, 2 the user must change something (nothing fits, a wrong plan, a flag), 4 a
/// file could not be written.
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/config/parse.h"
#include "csrc/plan/describe_choice.h"
#include "csrc/plan/plan_words.h"
#include "csrc/plan/planner.h"
#include "csrc/plan/what_if.h"
#include "launch/command_line.h"
#include "launch/plan_pictures.h"
#include "launch/program.h"

namespace kente {
namespace {

const std::map<std::string, Objective> kObjectives = {
    {"time", Objective::kTime}, {"energy", Objective::kEnergy}, {"money", Objective::kMoney}};
const std::map<std::string, ScheduleKind> kSchedules = {{"1f1b", ScheduleKind::k1F1B},
                                                        {"gpipe", ScheduleKind::kGPipe},
                                                        {"zero-bubble", ScheduleKind::kZeroBubble}};

template <class T>
std::vector<std::string> words_of(const std::map<std::string, T>& meanings) {
  std::vector<std::string> words;
  words.reserve(meanings.size());
  for (const auto& [word, meaning] : meanings) words.push_back(word);
  return words;
}

struct Flags {
  std::string recipe, cluster, out, plan, simulate;
  std::string objective = "time";
  std::vector<std::string> overrides, what_ifs, schedules;
  PlanOptions options;
  int state_copies = 0;
  bool json = false;
};

ClusterProfile choose_cluster(const Flags& flags, const Recipe& recipe) {
  ClusterProfile cluster = load_cluster(flags.cluster, recipe);
  for (const std::string& text : flags.what_ifs) {
    const WhatIf what_if = parse_what_if(text);
    cluster = add_devices(cluster, load_cluster(what_if.profile, recipe), what_if);
  }
  // What was put together must be what one may also write by hand.
  return parse_cluster(to_text(cluster), flags.cluster + " with --what-if", recipe);
}

/// The plan of a file, scored; what the cluster cannot do is refused, what it lacks is warned of.
PlanResult score_plan(const Flags& flags, const CostModel& model) {
  Candidate given;
  given.plan = load_plan(flags.plan, model.recipe());
  try {
    given.cost = predict(model, given.plan);
  } catch (const UsageError& error) {
    throw UsageError(flags.plan + ": " + error.what() + " (the cluster is " + flags.cluster + ")");
  }
  given.value = given.cost.step_seconds;
  given.plan.prediction = prediction_of(given.cost);
  for (const int rank : given.cost.overfull()) {
    const auto r = static_cast<size_t>(rank);
    std::fprintf(stderr,
                 "kente plan: warning: %s: rank %d (%s) needs %s and has %s free: give it fewer "
                 "layers, recompute: FULL, or a smaller grains_per_micro_batch\n",
                 flags.plan.c_str(), rank, device_name(model, rank).c_str(),
                 bytes_words(given.cost.memory[r].total()).c_str(),
                 bytes_words(given.cost.free_bytes[r]).c_str());
  }
  PlanResult result;
  result.finalists.push_back(std::move(given));
  return result;
}

nlohmann::ordered_json json_of(const CostModel& model, const Candidate& candidate) {
  const PlanCost& cost = candidate.cost;
  nlohmann::ordered_json json = {
      {"value", candidate.value},
      {"step_seconds", cost.step_seconds},
      {"tokens_per_second",
       static_cast<double>(model.recipe().global_batch_tokens) / cost.step_seconds},
      {"bubble", cost.bubble},
      {"efficiency", efficiency_of(model, cost)},
      {"bottleneck", cost.bottleneck},
      {"why_not", candidate.why_not},
      {"plan", to_text(candidate.plan)}};
  json["joules"] = cost.joules ? nlohmann::ordered_json(*cost.joules) : nullptr;
  json["price"] = cost.price ? nlohmann::ordered_json(*cost.price) : nullptr;
  json["overfull_ranks"] = cost.overfull();
  return json;
}

void print_json(const CostModel& model, const PlanResult& result) {
  nlohmann::ordered_json json = json_of(model, result.finalists.front());
  json["runners_up"] = nlohmann::ordered_json::array();
  for (size_t i = 1; i < result.finalists.size(); ++i)
    json["runners_up"].push_back(json_of(model, result.finalists[i]));
  json["too_big"] = nlohmann::ordered_json::array();
  for (const Candidate& candidate : result.too_big)
    json["too_big"].push_back(json_of(model, candidate));
  std::printf("%s\n", json.dump(1).c_str());
}

/// What the added devices change, against the cluster as it is.
std::string what_if_words(const Flags& flags, const Recipe& recipe, const Candidate& with) {
  const ClusterProfile cluster = load_cluster(flags.cluster, recipe);
  PlanOptions options = flags.options;
  options.runners_up = 0;
  const PlanResult without = make_plan(CostModel(recipe, cluster, flags.state_copies), options);
  if (without.finalists.empty()) return "without the added devices nothing fits\n";
  const double before = without.finalists.front().value;
  char percent[32];
  std::snprintf(percent, sizeof percent, "%+.1f %%", 100 * (with.value / before - 1));
  return "with the added devices " + value_words(with.value, options.objective) + ", without " +
         value_words(before, options.objective) + ": " + percent + "\n";
}

void write_pictures(const Flags& flags, const CostModel& model, PlanResult& result) {
  Candidate& winner = result.finalists.front();
  if (winner.cost.timeline.empty()) winner.cost = predict(model, winner.plan);
  std::error_code error;
  std::filesystem::create_directories(flags.simulate, error);
  if (error) throw StorageError(flags.simulate + ": " + error.message());
  const auto files = posix_file_system();
  write_text_file(*files, flags.simulate + "/trace.json",
                  plan_trace(model, winner.plan, winner.cost));
  write_text_file(*files, flags.simulate + "/plan.html",
                  plan_picture(model, result, flags.options.objective));
}

ExitStatus plan(const Flags& flags) {
  const Recipe recipe = load_recipe(flags.recipe, flags.overrides);
  const ClusterProfile cluster = choose_cluster(flags, recipe);
  const CostModel model(recipe, cluster, flags.state_copies);
  PlanResult result =
      flags.plan.empty() ? make_plan(model, flags.options) : score_plan(flags, model);
  if (result.finalists.empty()) throw UsageError(result.nothing_fits);
  const Candidate& winner = result.finalists.front();
  if (flags.json) {
    print_json(model, result);
  } else {
    std::printf("%s", describe_cost(model, winner.plan, winner.cost).c_str());
    if (!flags.what_ifs.empty() && flags.plan.empty())
      std::printf("\n%s", what_if_words(flags, recipe, winner).c_str());
    const std::string others = describe_runners_up(model, result, flags.options.objective);
    if (!others.empty()) std::printf("\n%s", others.c_str());
  }
  if (!flags.out.empty()) write_text_file(*posix_file_system(), flags.out, to_text(winner.plan));
  if (!flags.simulate.empty()) write_pictures(flags, model, result);
  return ExitStatus::kDone;
}

void add_flags(Command& app, Flags& flags) {
  app.option("--recipe", flags.recipe, "what to train (protobuf text)").required();
  app.option("--cluster", flags.cluster, "on what: a profile that kente bench wrote").required();
  app.option("--set", flags.overrides, "field=value: override a recipe field; repeatable");
  app.option("--objective", flags.objective, "time, energy or money of a step")
      .one_of(words_of(kObjectives))
      .show_default();
  app.option("--schedule", flags.schedules, "1f1b, zero-bubble or gpipe; repeatable, default all")
      .one_of(words_of(kSchedules));
  app.option("--memory-use", flags.options.memory_use, "part of the free memory to plan with")
      .between(0.01, 1.0)
      .show_default();
  app.option("--state-copies", flags.state_copies,
             "leave memory for so many copies of each rank's part of the state: 3 for the "
             "snapshots of kente launch, 7 where they are copied between nodes")
      .between(0, 100)
      .show_default();
  app.option("--plan", flags.plan, "score this plan instead of searching one");
  app.option("--out", flags.out, "write the plan here");
  app.option("--simulate", flags.simulate, "write DIR/trace.json (Perfetto) and DIR/plan.html");
  app.option("--what-if", flags.what_ifs,
             "PROFILE:DEVICE_ID[:COUNT],latency=SECONDS,bandwidth=BYTES_PER_SECOND: add "
             "devices; repeatable");
  app.flag("--json", flags.json, "print JSON instead of tables");
}

int run(int argc, char** argv) {
  CommandLine app(
      "Chooses who does what: prints the plan, what it is predicted to cost, and why "
      "others lost.",
      "kente plan");
  Flags flags;
  add_flags(app, flags);
  if (app.asks_for_help(argc, argv)) return 0;
  flags.options.objective = kObjectives.at(flags.objective);
  if (!flags.schedules.empty()) flags.options.schedules.clear();
  for (const std::string& schedule : flags.schedules)
    flags.options.schedules.push_back(kSchedules.at(schedule));
  return static_cast<int>(plan(flags));
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente plan", kente::run, argc, argv);
}
