#include "launch/ckpt_tools.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "csrc/base/clock.h"
#include "csrc/ckpt/whole_checkpoint.h"

namespace kente {
namespace {

using Json = nlohmann::ordered_json;
using Output = CkptOptions::Output;

constexpr int64_t kMostShardBytes = int64_t{4} << 30;
constexpr size_t kMostLines = 40;

std::string difference_text(const TensorDifference& tensor) {
  if (!tensor.what.empty()) return tensor.what;
  char text[80];
  std::snprintf(text, sizeof text, "%lld of %lld elements, by at most %.3g",
                static_cast<long long>(tensor.differing), static_cast<long long>(tensor.elements),
                tensor.largest);
  return text;
}

Json difference_json(const TensorDifference& tensor) {
  Json json;
  json["name"] = tensor.name;
  json["what"] = tensor.what;
  json["elements"] = tensor.elements;
  json["differing"] = tensor.differing;
  json["largest"] = tensor.largest;
  return json;
}

/// What makes a directory a run that goes on, beside its checkpoint.
void copy_inputs(const std::string& from, const std::string& to) {
  for (const char* name : {"recipe.textproto", "plan.textproto", "tokenizer.json"}) {
    std::error_code error;
    if (!std::filesystem::exists(from + "/" + name)) continue;
    std::filesystem::copy_file(from + "/" + name, to + "/" + name,
                               std::filesystem::copy_options::overwrite_existing, error);
    if (error) throw StorageError(to + "/" + name + ": " + error.message());
  }
}

}  // namespace

std::string checkpoint_directory(const std::string& run) {
  std::string directory = run + "/ckpt";
  if (!std::filesystem::is_directory(directory))
    throw UsageError(run + ": no ckpt/ in it; name the directory that `kente train` wrote");
  return directory;
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

void print_json(const Json& json) {
  std::printf("%s\n", json.dump(1, ' ', false, Json::error_handler_t::replace).c_str());
}

ProgressLine::ProgressLine(int64_t step, std::string done_what)
    : step_(step), what_(std::move(done_what)), shown_(::isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
}

void ProgressLine::show(int64_t done, int64_t total) {
  const int64_t now = now_ns();
  if (!shown_ || now - last_ns_ < 200'000'000) return;
  last_ns_ = now;
  const double percent =
      100.0 * static_cast<double>(done) / static_cast<double>(std::max<int64_t>(1, total));
  std::fprintf(stderr, "\rstep %lld: %s of %s %s (%.0f %%)\033[K", static_cast<long long>(step_),
               size_text(done).c_str(), size_text(total).c_str(), what_.c_str(), percent);
}

ExitStatus diff_checkpoints(FileSystem& files, const CkptOptions& options) {
  WholeCheckpoint a(files, {checkpoint_directory(options.runs.at(0))}, options.step);
  WholeCheckpoint b(files, {checkpoint_directory(options.runs.at(1))},
                    options.other_step ? options.other_step : options.step);
  std::vector<TensorDifference> found;
  {
    ProgressLine line(a.step(), "compared");
    found = compare(a, b, [&](int64_t done, int64_t total) { line.show(done, total); });
  }
  const bool data = a.manifest().samples == b.manifest().samples;
  const bool same =
      found.empty() && data && a.manifest().recipe_sha256 == b.manifest().recipe_sha256;
  if (options.output == Output::kJson) {
    Json json;
    json["same"] = same;
    json["steps"] = {a.step(), b.step()};
    json["tensors"] = a.tensors().size();
    json["samples"] = {a.manifest().samples, b.manifest().samples};
    json["recipes"] = {a.manifest().recipe_sha256, b.manifest().recipe_sha256};
    json["differences"] = Json::array();
    for (const TensorDifference& tensor : found)
      json["differences"].push_back(difference_json(tensor));
    print_json(json);
  } else {
    std::printf("step %lld and step %lld: %s\n", static_cast<long long>(a.step()),
                static_cast<long long>(b.step()), same ? "the same in every bit" : "DIFFERENT");
    if (a.manifest().recipe_sha256 != b.manifest().recipe_sha256)
      std::printf("  trained by different recipes\n");
    if (!data)
      std::printf("  after %lld and %lld samples\n", static_cast<long long>(a.manifest().samples),
                  static_cast<long long>(b.manifest().samples));
    for (size_t i = 0; i < std::min(kMostLines, found.size()); ++i)
      std::printf("  %-40s %s\n", found[i].name.c_str(), difference_text(found[i]).c_str());
    if (found.size() > kMostLines)
      std::printf("  and %zu more tensors: --json has all\n", found.size() - kMostLines);
  }
  return same ? ExitStatus::kDone : ExitStatus::kStorage;
}

ExitStatus remove_checkpoints(FileSystem& files, const CkptOptions& options) {
  const std::string directory = checkpoint_directory(options.run);
  const std::vector<StepInventory> stored = list_checkpoints(files, directory);
  const auto asked = [&](const StepInventory& step) {
    return std::find(options.steps.begin(), options.steps.end(), step.step) != options.steps.end();
  };
  for (const int64_t step : options.steps)
    if (std::none_of(stored.begin(), stored.end(),
                     [&](const StepInventory& s) { return s.step == step; }))
      throw UsageError(directory + ": no step " + std::to_string(step) + "; see kente ckpt ls");
  const bool one_stays = std::any_of(stored.begin(), stored.end(), [&](const StepInventory& step) {
    return step.sound() && !asked(step);
  });
  if (!one_stays && !options.even_the_last)
    throw UsageError(directory +
                     ": no sound checkpoint would stay, and the run could not go on; "
                     "--even-the-last removes it all the same");
  for (const int64_t step : options.steps) {
    remove_step(files, directory, step);
    std::printf("step %lld is removed\n", static_cast<long long>(step));
  }
  return ExitStatus::kDone;
}

ExitStatus reshard_checkpoint(FileSystem& files, const CkptOptions& options) {
  std::vector<std::string> directories;
  for (const std::string& run : options.runs) directories.push_back(checkpoint_directory(run));
  WholeCheckpoint from(files, directories, options.step);
  const std::string target = options.to + "/ckpt";
  if (files.exists(target + "/" + step_directory(from.step())))
    throw UsageError(target + ": holds step " + std::to_string(from.step()) +
                     " already; name another --to");
  const int64_t shards =
      options.shards > 0
          ? options.shards
          : std::max<int64_t>(1, (from.bytes() + kMostShardBytes - 1) / kMostShardBytes);
  CheckpointManifest manifest;
  {
    ProgressLine line(from.step(), "written");
    manifest = reshard(from, files, target, shards,
                       [&](int64_t done, int64_t total) { line.show(done, total); });
  }
  copy_inputs(options.runs.front(), options.to);
  std::printf(
      "step %lld: %s in %zu shards, verified; continue with: kente train --resume --out %s\n",
      static_cast<long long>(from.step()), size_text(from.bytes()).c_str(), manifest.shards.size(),
      options.to.c_str());
  return ExitStatus::kDone;
}

}  // namespace kente
