/// kente-status status|logs RUN: how far a run is and whether it is looked after; what its ranks
/// wrote. Exit status: 0 done, 2 the user must change something, 4 a file could not be read.
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "comm/control.h"
#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/config/parse.h"
#include "csrc/report/number_text.h"
#include "csrc/report/run_record.h"
#include "csrc/report/terminal.h"
#include "launch/command_line.h"
#include "launch/launch_resources.h"
#include "launch/program.h"

namespace kente {
namespace {

using Json = nlohmann::ordered_json;

/// What is known of a run from outside.
struct Status {
  std::string name;
  int64_t step = 0, steps = 0;
  double loss = NAN, tokens_per_second = 0;
  double seconds_left = NAN;
  pid_t supervisor = 0;  // 0: nobody looks after it
  int64_t checkpoint = -1;
  bool checkpoint_sound = false;
  std::vector<std::string> events;
};

Status read_status(FileSystem& files, const std::string& directory) {
  const RunRecord run = read_run(files, directory);
  Status status;
  const Recipe recipe = parse_recipe(run.recipe_text, directory + "/recipe.textproto");
  status.name = recipe.name;
  status.steps = recipe.steps;
  if (!run.steps.empty()) {
    status.step = run.steps.back().step;
    status.loss = run.steps.back().loss;
    // The newest steps: what ranks and plan there were before says nothing of what is left.
    const size_t newest = std::min<size_t>(20, run.steps.size());
    std::vector<double> seconds, rates;
    for (size_t i = run.steps.size() - newest; i < run.steps.size(); ++i) {
      seconds.push_back(run.steps[i].seconds);
      rates.push_back(run.steps[i].tokens_per_second);
    }
    std::nth_element(seconds.begin(), seconds.begin() + newest / 2, seconds.end());
    std::nth_element(rates.begin(), rates.begin() + newest / 2, rates.end());
    status.tokens_per_second = rates[newest / 2];
    status.seconds_left = seconds[newest / 2] * static_cast<double>(status.steps - status.step);
  }
  status.supervisor = RunLock::holder(directory);
  if (std::filesystem::is_directory(directory + "/ckpt"))
    for (const StepInventory& stored : list_checkpoints(files, directory + "/ckpt"))
      if (status.checkpoint < 0) {
        status.checkpoint = stored.step;
        status.checkpoint_sound = stored.sound();
      }
  status.events = run.events;
  return status;
}

void print_status(const Status& status, const std::string& directory, size_t events) {
  std::printf("%s, in %s: step %lld of %lld", printable(status.name).c_str(), directory.c_str(),
              static_cast<long long>(status.step), static_cast<long long>(status.steps));
  if (status.step > 0)
    std::printf(", loss %s, %s tokens/s", fixed_text(status.loss, 4).c_str(),
                count_text(status.tokens_per_second).c_str());
  if (status.step > 0 && status.step < status.steps)
    std::printf(", %s of steps left", duration_text(status.seconds_left).c_str());
  std::printf("\n");
  if (status.supervisor != 0)
    std::printf("kente launch looks after it: process %d\n", static_cast<int>(status.supervisor));
  else
    std::printf("no kente launch looks after it on this machine\n");
  if (status.checkpoint < 0)
    std::printf("no checkpoint yet\n");
  else
    std::printf("newest checkpoint: step %lld%s\n", static_cast<long long>(status.checkpoint),
                status.checkpoint_sound ? "" : ", DAMAGED: see kente ckpt ls");
  const size_t first = status.events.size() - std::min(events, status.events.size());
  for (size_t i = first; i < status.events.size(); ++i)
    std::printf("  %s\n", printable(status.events[i]).c_str());
}

void print_json(const Status& status) {
  Json json;
  json["name"] = status.name;
  json["step"] = status.step;
  json["steps"] = status.steps;
  json["loss"] = status.loss;
  json["tokens_per_second"] = status.tokens_per_second;
  json["seconds_left"] = status.seconds_left;
  json["supervisor"] = status.supervisor;
  json["checkpoint"] = status.checkpoint;
  json["checkpoint_sound"] = status.checkpoint_sound;
  json["events"] = status.events;
  std::printf("%s\n", json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
}

/// The lines that ranks wrote, in the order of their times.
class Logs {
 public:
  /// rank: -1 for all.
  Logs(const std::string& run, int rank) : directory_(run + "/logs"), rank_(rank) {
    if (!std::filesystem::is_directory(directory_))
      throw UsageError(run + ": no logs/ in it; name the directory that `kente train` wrote");
  }

  /// What was written since the last call; at most that many lines, the newest.
  void print(size_t most) {
    std::vector<std::string> lines;
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      if (is_wanted(entry.path().filename().string())) read(entry.path().string(), lines);
    std::stable_sort(lines.begin(), lines.end(), [](const std::string& a, const std::string& b) {
      return a.compare(0, kTimeLetters, b, 0, kTimeLetters) < 0;
    });
    for (size_t i = lines.size() - std::min(most, lines.size()); i < lines.size(); ++i)
      std::printf("%s\n", printable(lines[i]).c_str());
    std::fflush(stdout);
  }
  /// Prints what is written until the program is ended.
  void follow() {
    const Descriptor watch(::inotify_init1(IN_CLOEXEC));
    if (!watch || ::inotify_add_watch(watch.get(), directory_.c_str(), IN_MODIFY | IN_CREATE) < 0)
      throw StorageError(directory_ + ": cannot be watched for changes");
    std::array<char, 4096> changes{};
    while (::read(watch.get(), changes.data(), changes.size()) > 0) print(SIZE_MAX);
  }

 private:
  static constexpr size_t kTimeLetters = 23;  // 2026-11-25T12:03:55.123

  bool is_wanted(const std::string& name) const {
    std::array<char, 32> own{};
    std::snprintf(own.data(), own.size(), "rank-%04d.log", rank_);
    return name.starts_with("rank-") && name.ends_with(".log") && (rank_ < 0 || name == own.data());
  }
  /// Whole lines only: the rest is read when it is there.
  void read(const std::string& path, std::vector<std::string>& lines) {
    std::ifstream file(path, std::ios::binary);
    std::streamoff& at = read_[path];
    file.seekg(at);
    for (std::string line; std::getline(file, line) && !file.eof();) {
      at += static_cast<std::streamoff>(line.size()) + 1;
      lines.push_back(std::move(line));
    }
  }

  const std::string directory_;
  const int rank_;
  std::map<std::string, std::streamoff> read_;  // so many bytes of each file
};

int run(int argc, char** argv) {
  CommandLine app("How far a run is, and what its ranks wrote.", "kente");
  std::string directory;
  size_t events = 5, lines = 40;
  int rank = -1;
  bool json = false, follow = false;
  Command status = app.command("status", "how far a run is, and whether it is looked after");
  status.option("RUN", directory, "the run's directory").required();
  status.option("--events", events, "how many of the newest").show_default();
  status.flag("--json", json, "for scripts");
  Command logs = app.command("logs", "what the ranks wrote, in the order of their times");
  logs.option("RUN", directory, "the run's directory").required();
  logs.option("--rank", rank, "only this rank's").between(0, 1 << 20);
  logs.option("-n,--lines", lines, "how many of the newest").show_default();
  logs.flag("-f,--follow", follow, "and go on with what is written, until Ctrl-C");
  app.footer("Exit status: 0 done, 2 wrong arguments, 4 a file could not be read.");
  if (app.asks_for_help(argc, argv, "see `kente status --help`")) return 0;
  if (logs.given()) {
    Logs of_run(directory, rank);
    of_run.print(lines);
    if (follow) of_run.follow();
    return static_cast<int>(ExitStatus::kDone);
  }
  const auto files = posix_file_system();
  const Status now = read_status(*files, directory);
  if (json)
    print_json(now);
  else
    print_status(now, directory, events);
  return static_cast<int>(ExitStatus::kDone);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) { return kente::program_main("kente", kente::run, argc, argv); }
