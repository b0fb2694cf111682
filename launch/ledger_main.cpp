/// kente-ledger RUN: which samples each step of a run used, and whether each was used once.
/// Exit status: 0 every sample once, 2 the user must change something, 4 a sample was used twice,
/// or left out without the guards' order, or a step is missing.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/config/parse.h"
#include "csrc/data/ledger.h"
#include "csrc/data/loader.h"
#include "csrc/report/run_record.h"
#include "launch/command_line.h"
#include "launch/program.h"

namespace kente {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string run;
  std::string data;
  std::optional<int64_t> step;
  bool json = false;
};

/// Samples at which the guards let training go on, leaving out what comes before.
std::set<int64_t> ordered_beginnings(const RunRecord& run, const Recipe& recipe) {
  static const std::string kOrder = "going on with the data of step ";
  std::set<int64_t> samples;
  for (const std::string& event : run.events) {
    const size_t at = event.find(kOrder);
    if (event.find(" went back ") == std::string::npos || at == std::string::npos) continue;
    const int64_t step = std::strtoll(event.c_str() + at + kOrder.size(), nullptr, 10);
    samples.insert((step - 1) * recipe.samples_per_step());
  }
  return samples;
}

/// How much of each source the run used.
struct SourceUse {
  std::string id;
  int64_t samples = 0, epochs = 0;  // epochs begun
};

std::vector<SourceUse> use_of_sources(const Ledger& ledger, const Recipe& recipe,
                                      const TrainingData& data) {
  std::vector<SourceUse> uses;
  for (const auto& source : recipe.data.sources) uses.push_back({.id = source.id});
  for (const Ledger::Range& range : ledger.ranges)
    for (int64_t sample = range.first_sample; sample <= range.last_sample; ++sample) {
      const TrainingData::Location at = data.locate(sample);
      SourceUse& use = uses[static_cast<size_t>(at.source)];
      ++use.samples;
      use.epochs = std::max(use.epochs, at.epoch + 1);
    }
  return uses;
}

std::string samples_text(int64_t first, int64_t last) {
  return first == last ? fmt::format("sample {}", first)
                       : fmt::format("samples {}-{}", first, last);
}

/// What is wrong, a line each; and what the guards ordered.
struct Verdict {
  std::vector<std::string> wrong, ordered;
};

Verdict judge(const Ledger& ledger, const std::set<int64_t>& beginnings) {
  Verdict verdict;
  for (const Ledger::Finding& gap : ledger.left_out) {
    const bool ordered = beginnings.contains(gap.last_sample + 1);
    (ordered ? verdict.ordered : verdict.wrong)
        .push_back(
            fmt::format("{} left out {}step {}{}", samples_text(gap.first_sample, gap.last_sample),
                        gap.step > 0 ? fmt::format("between step {} and ", gap.step) : "before ",
                        gap.other_step, ordered ? ": by the guards' order" : ""));
  }
  for (const Ledger::Finding& twice : ledger.used_twice)
    verdict.wrong.push_back(fmt::format("{} used by step {} and again by step {}",
                                        samples_text(twice.first_sample, twice.last_sample),
                                        twice.step, twice.other_step));
  for (const Ledger::Range& missing : ledger.missing_steps)
    verdict.wrong.push_back(
        fmt::format("run.jsonl has nothing of steps {}-{}", missing.first_step, missing.last_step));
  for (const int64_t step : ledger.not_applied)
    verdict.ordered.push_back(
        fmt::format("step {} changed nothing: a gradient was not finite", step));
  return verdict;
}

Json to_json(const Ledger& ledger, const Verdict& verdict, const std::vector<SourceUse>& uses) {
  Json json;
  json["ok"] = verdict.wrong.empty();
  json["steps"] = ledger.steps;
  json["samples"] = ledger.samples;
  json["ranges"] = Json::array();
  for (const Ledger::Range& range : ledger.ranges)
    json["ranges"].push_back({{"steps", {range.first_step, range.last_step}},
                              {"samples", {range.first_sample, range.last_sample}}});
  json["wrong"] = verdict.wrong;
  json["ordered"] = verdict.ordered;
  json["sources"] = Json::array();
  for (const SourceUse& use : uses)
    json["sources"].push_back({{"id", use.id}, {"samples", use.samples}, {"epochs", use.epochs}});
  return json;
}

void print(const Options& options, const Ledger& ledger, const Verdict& verdict,
           const std::vector<SourceUse>& uses) {
  std::printf("%s: %lld steps used %lld samples, %s\n", options.run.c_str(),
              static_cast<long long>(ledger.steps), static_cast<long long>(ledger.samples),
              verdict.wrong.empty() ? "each of them once" : "NOT AS ORDERED");
  for (const std::string& line : verdict.wrong) std::printf("  WRONG  %s\n", line.c_str());
  for (const std::string& line : verdict.ordered) std::printf("  %s\n", line.c_str());
  std::printf("\n%23s  %27s\n", "steps", "samples");
  for (const Ledger::Range& range : ledger.ranges)
    std::printf("%11lld-%-11lld  %13lld-%-13lld\n", static_cast<long long>(range.first_step),
                static_cast<long long>(range.last_step), static_cast<long long>(range.first_sample),
                static_cast<long long>(range.last_sample));
  if (uses.empty()) return;
  std::printf("\n%-24s %12s %13s\n", "source", "samples", "epochs begun");
  for (const SourceUse& use : uses)
    std::printf("%-24s %12lld %13lld\n", use.id.c_str(), static_cast<long long>(use.samples),
                static_cast<long long>(use.epochs));
}

/// Every sample of one step.
void print_step(const Options& options, const RunRecord& run, const Recipe& recipe,
                const TrainingData& data) {
  for (const StepRecord& step : run.steps) {
    if (step.step != *options.step) continue;
    if (!options.json) std::printf("%12s  %-24s %8s %10s\n", "sample", "source", "epoch", "window");
    Json all = Json::array();
    for (int64_t sample = step.first_sample; sample <= step.last_sample; ++sample) {
      const TrainingData::Location at = data.locate(sample);
      const std::string& id = recipe.data.sources[static_cast<size_t>(at.source)].id;
      all.push_back(
          {{"sample", sample}, {"source", id}, {"epoch", at.epoch}, {"window", at.window}});
      if (!options.json)
        std::printf("%12lld  %-24s %8lld %10lld\n", static_cast<long long>(sample), id.c_str(),
                    static_cast<long long>(at.epoch), static_cast<long long>(at.window));
    }
    if (options.json) std::printf("%s\n", all.dump(1).c_str());
    return;
  }
  throw UsageError(options.run + ": run.jsonl has no step " + std::to_string(*options.step));
}

ExitStatus show(const Options& options) {
  const auto files = posix_file_system();
  const RunRecord run = read_run(*files, options.run);
  const Recipe recipe = parse_recipe(run.recipe_text, options.run + "/recipe.textproto");
  std::optional<TrainingData> data;
  if (!options.data.empty()) data.emplace(recipe, options.data);
  if (options.step) {
    if (!data) throw UsageError("--step: needs --data DIR, where the recipe's sources are");
    print_step(options, run, recipe, *data);
    return ExitStatus::kDone;
  }
  std::vector<StepSamples> steps;
  for (const StepRecord& step : run.steps)
    steps.push_back({.step = step.step,
                     .first = step.first_sample,
                     .last = step.last_sample,
                     .applied = std::isfinite(step.grad_norm)});
  const Ledger ledger = make_ledger(steps);
  const Verdict verdict = judge(ledger, ordered_beginnings(run, recipe));
  const std::vector<SourceUse> uses =
      data ? use_of_sources(ledger, recipe, *data) : std::vector<SourceUse>();
  if (options.json)
    std::printf("%s\n", to_json(ledger, verdict, uses).dump(1).c_str());
  else
    print(options, ledger, verdict, uses);
  return verdict.wrong.empty() ? ExitStatus::kDone : ExitStatus::kStorage;
}

int run(int argc, char** argv) {
  CommandLine app("Which samples each step of a run used, and whether each was used once.",
                  "kente data ledger");
  app.footer(
      "Exit status: 0 every sample once, 2 wrong arguments, 4 a sample was used twice, or left out "
      "without the guards' order, or a step is missing.");
  Options options;
  app.option("RUN", options.run, "the run's directory").required();
  app.option("--data", options.data, "where the recipe's sources are: counts by source");
  app.option("--step", options.step, "every sample of this step: source, epoch, window");
  app.flag("--json", options.json, "for scripts");
  if (app.asks_for_help(argc, argv)) return 0;
  return static_cast<int>(show(options));
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente data ledger", kente::run, argc, argv);
}
