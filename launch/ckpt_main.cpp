/// kente-ckpt ls|verify|diff|reshard|rm: what checkpoints a run has on this node, whether every
/// byte is right, how two differ; one written anew, or removed. Exit status: 0 all is well, 2 the
/// user must change something, 4 a checkpoint is damaged or cannot be read, or two differ.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "launch/ckpt_tools.h"
#include "launch/command_line.h"
#include "launch/program.h"

namespace kente {
namespace {

using Json = nlohmann::ordered_json;
using Options = CkptOptions;
using Output = CkptOptions::Output;

int64_t bytes_here(const StepInventory& step) {
  int64_t bytes = 0;
  for (const Shard& shard : step.manifest.shards)
    if (std::find(step.present.begin(), step.present.end(), shard.file) != step.present.end())
      bytes += shard.bytes;
  return bytes;
}

int64_t shards_elsewhere(const StepInventory& step) {
  return static_cast<int64_t>(step.manifest.shards.size() - step.present.size() -
                              step.damaged.size());
}

/// Seconds since the directory last changed; the manifest holds no time.
int64_t age_seconds(const std::string& path) {
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(path, error);
  if (error) return 0;
  const auto age = std::filesystem::file_time_type::clock::now() - changed;
  return std::max<int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(age).count());
}

std::string age_text(int64_t seconds) {
  constexpr int64_t kMinute = 60, kHour = 60 * kMinute, kDay = 24 * kHour;
  if (seconds < 2 * kMinute) return std::to_string(seconds) + " s";
  if (seconds < 2 * kHour) return std::to_string(seconds / kMinute) + " min";
  if (seconds < 2 * kDay) return std::to_string(seconds / kHour) + " h";
  return std::to_string(seconds / kDay) + " d";
}

std::string state_text(const StepInventory& step) {
  if (!step.problem.empty()) return "damaged: " + step.problem;
  if (!step.damaged.empty())
    return "damaged: " + step.damaged.front() + " is missing or has the wrong size";
  return shards_elsewhere(step) > 0 ? "part of it here" : "all of it here";
}

Json inventory_json(const StepInventory& step, int64_t age) {
  Json json;
  json["step"] = step.step;
  json["age_seconds"] = age;
  json["bytes_here"] = bytes_here(step);
  json["shards_here"] = step.present.size();
  json["shards_elsewhere"] = step.problem.empty() ? shards_elsewhere(step) : 0;
  json["damaged"] = step.damaged;
  json["problem"] = step.problem;
  json["manifest_sha256"] = step.manifest_sha256;
  json["samples"] = step.manifest.samples;
  return json;
}

ExitStatus list(FileSystem& files, const Options& options) {
  const std::string directory = checkpoint_directory(options.run);
  const std::vector<StepInventory> steps = list_checkpoints(files, directory);
  Json all = Json::array();
  bool sound = true;
  if (options.output == Output::kText)
    std::printf("%12s  %8s  %10s  %6s  %9s  %s\n", "step", "age", "size here", "shards",
                "elsewhere", "state");
  for (const StepInventory& step : steps) {
    sound = sound && step.sound();
    const int64_t age = age_seconds(directory + "/" + step_directory(step.step));
    if (options.output == Output::kJson) {
      all.push_back(inventory_json(step, age));
      continue;
    }
    std::printf("%12lld  %8s  %10s  %6zu  %9lld  %s\n", static_cast<long long>(step.step),
                age_text(age).c_str(), size_text(bytes_here(step)).c_str(), step.present.size(),
                static_cast<long long>(step.problem.empty() ? shards_elsewhere(step) : 0),
                state_text(step).c_str());
  }
  if (options.output == Output::kJson) print_json(all);
  if (options.output == Output::kText && steps.empty()) std::printf("no checkpoint here yet\n");
  return sound ? ExitStatus::kDone : ExitStatus::kStorage;
}

Json verify_step(FileSystem& files, const std::string& directory, const StepInventory& step,
                 Output output) {
  VerifyReport report;
  {
    ProgressLine line(step.step, "verified");
    report = verify_checkpoint(files, directory, step,
                               [&](int64_t done, int64_t total) { line.show(done, total); });
  }
  if (output == Output::kText) {
    std::printf("step %lld: %s: %lld files, %s verified", static_cast<long long>(step.step),
                report.problems.empty() ? "ok" : "DAMAGED", static_cast<long long>(report.files),
                size_text(report.bytes).c_str());
    if (!report.elsewhere.empty())
      std::printf(", %zu shards on other nodes: run it there too", report.elsewhere.size());
    std::printf("\n");
    for (const std::string& problem : report.problems) std::printf("  %s\n", problem.c_str());
  }
  Json json;
  json["step"] = step.step;
  json["ok"] = report.problems.empty();
  json["files"] = report.files;
  json["bytes"] = report.bytes;
  json["elsewhere"] = report.elsewhere;
  json["problems"] = report.problems;
  return json;
}

ExitStatus verify(FileSystem& files, const Options& options) {
  const std::string directory = checkpoint_directory(options.run);
  std::vector<StepInventory> steps = list_checkpoints(files, directory);
  if (options.step) {
    std::string there;
    for (const StepInventory& step : steps) there += " " + std::to_string(step.step);
    std::erase_if(steps, [&](const StepInventory& step) { return step.step != *options.step; });
    if (steps.empty())
      throw UsageError(directory + ": no step " + std::to_string(*options.step) +
                       "; steps here:" + (there.empty() ? " none" : there));
  }
  if (steps.empty()) throw UsageError(directory + ": no checkpoint to verify");
  Json all = Json::array();
  for (const StepInventory& step : steps)
    all.push_back(verify_step(files, directory, step, options.output));
  if (options.output == Output::kJson) print_json(all);
  const bool ok = std::all_of(all.begin(), all.end(), [](const Json& one) { return one["ok"]; });
  return ok ? ExitStatus::kDone : ExitStatus::kStorage;
}

int run(int argc, char** argv) {
  CommandLine app("Lists, verifies, compares, rewrites and removes checkpoints.", "kente ckpt");
  app.footer(
      "Exit status: 0 all is well, 2 wrong arguments, 4 a checkpoint is damaged, or two differ.");
  Options options;
  bool json = false;
  const auto add_common = [&](Command command) {
    command.option("RUN", options.run, "the run's directory").required();
    command.flag("--json", json, "for scripts");
  };
  Command ls = app.command("ls", "step, age, size, shards and state; reads no tensor");
  add_common(ls);
  Command check = app.command("verify", "reads every byte and checks every digest");
  add_common(check);
  check.option("--step", options.step, "only this step");
  Command diff = app.command("diff", "tensors that differ between two runs, or two steps");
  diff.option("RUN", options.runs, "two run directories; twice the same for two steps")
      .required()
      .words(2);
  diff.option("--step", options.step, "of the first (default: its newest complete one)");
  diff.option("--other-step", options.other_step, "of the second (default: --step)");
  diff.flag("--json", json, "for scripts");
  Command again = app.command("reshard", "writes a checkpoint anew, whole, into one directory");
  again.option("RUN", options.runs, "the run's directory; those of all nodes, if each has its own")
      .required();
  again.option("--to", options.to, "a run directory to write into").required();
  again.option("--step", options.step, "which step (default: the newest complete one)");
  again.option("--shards", options.shards, "files to write (default: none above 4 GiB)")
      .between(1, 10000);
  Command rm = app.command("rm", "removes steps");
  rm.option("RUN", options.run, "the run's directory").required();
  rm.option("--step", options.steps, "a step to remove; repeatable").required();
  rm.flag("--even-the-last", options.even_the_last, "even if no sound one stays");
  if (app.asks_for_help(argc, argv)) return 0;
  if (json) options.output = Output::kJson;
  const auto files = posix_file_system();
  ExitStatus status = ExitStatus::kDone;
  if (ls.given()) status = list(*files, options);
  if (check.given()) status = verify(*files, options);
  if (diff.given()) status = diff_checkpoints(*files, options);
  if (again.given()) status = reshard_checkpoint(*files, options);
  if (rm.given()) status = remove_checkpoints(*files, options);
  return static_cast<int>(status);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente ckpt", kente::run, argc, argv);
}
