/// kente-ckpt ls|verify RUN: what checkpoints a run has on this node, and whether every byte is
/// right. Exit status: 0 all is well, 2 the user must change something, 4 a checkpoint is damaged
/// or cannot be read.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"

namespace kente {
namespace {

using Json = nlohmann::ordered_json;

enum class Output { kText, kJson };

struct Options {
  std::string run;
  std::optional<int64_t> step;
  Output output = Output::kText;
};

std::string checkpoint_directory(const std::string& run) {
  std::string directory = run + "/ckpt";
  if (!std::filesystem::is_directory(directory))
    throw UsageError(run + ": no ckpt/ in it; name the directory that `kente train` wrote");
  return directory;
}

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

std::string size_text(int64_t bytes) {
  double value = static_cast<double>(bytes);
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) value /= 1024;
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
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

void print_json(const Json& json) {
  std::printf("%s\n", json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
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

/// A line on a terminal that rewrites itself, at most five times a second; nothing in a pipe.
class ProgressLine {
 public:
  explicit ProgressLine(int64_t step) : step_(step), shown_(::isatty(STDERR_FILENO) != 0) {}
  ~ProgressLine() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(int64_t done, int64_t total) {
    const int64_t now = now_ns();
    if (!shown_ || now - last_ns_ < 200'000'000) return;
    last_ns_ = now;
    const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
    std::fprintf(stderr, "\rstep %lld: %s of %s verified (%.0f %%)\033[K",
                 static_cast<long long>(step_), size_text(done).c_str(), size_text(total).c_str(),
                 percent);
  }

 private:
  int64_t step_;
  bool shown_;
  int64_t last_ns_ = 0;
};

Json verify_step(FileSystem& files, const std::string& directory, const StepInventory& step,
                 Output output) {
  VerifyReport report;
  {
    ProgressLine line(step.step);
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
  CLI::App app("Lists and verifies the checkpoints that a run has on this node.", "kente ckpt");
  app.require_subcommand(1);
  app.footer("Exit status: 0 all is well, 2 wrong arguments, 4 a checkpoint is damaged.");
  Options options;
  const auto add_common = [&](CLI::App* command) {
    command->add_option("RUN", options.run, "the run's directory")->required();
    command->add_flag_callback(
        "--json", [&] { options.output = Output::kJson; }, "for scripts");
  };
  CLI::App* ls = app.add_subcommand("ls", "step, age, size, shards and state; reads no tensor");
  add_common(ls);
  CLI::App* check = app.add_subcommand("verify", "reads every byte and checks every digest");
  add_common(check);
  check->add_option("--step", options.step, "only this step");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& wrong) {
    throw UsageError(std::string(wrong.what()) + "; see `kente ckpt --help`");
  }
  const auto files = posix_file_system();
  return static_cast<int>(ls->parsed() ? list(*files, options) : verify(*files, options));
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  try {
    return kente::run(argc, argv);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "kente ckpt: %s\n", failure.what());
    return static_cast<int>(kente::exit_status(failure));
  }
}
