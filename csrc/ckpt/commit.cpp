#include <filesystem>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/paths.h"

namespace kente {
namespace {

constexpr std::string_view kTemporaryPrefix = ".tmp-";
constexpr std::string_view kStepPrefix = "step-";
constexpr size_t kStepDigits = 12;

std::string parent_of(const std::string& directory) {
  const std::string parent =
      (std::filesystem::path(directory) / "").parent_path().parent_path().string();
  return parent.empty() ? "." : parent;
}

}  // namespace

std::string temporary_directory(const std::string& directory, const std::string& id) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  KENTE_CHECK(
      !id.empty() && id.size() <= 200 && id.find_first_not_of(kAllowed) == std::string::npos,
      "checkpoint attempt id \"" + id + "\"");
  return directory + "/" + std::string(kTemporaryPrefix) + id;
}

bool is_leftover(const std::string& name) { return name.starts_with(kTemporaryPrefix); }

std::string step_directory(int64_t step) {
  std::string digits = std::to_string(step);
  KENTE_CHECK(step >= 0 && digits.size() <= kStepDigits, "step " + digits);
  return std::string(kStepPrefix) + std::string(kStepDigits - digits.size(), '0') + digits;
}

std::optional<int64_t> step_of_directory(const std::string& name) {
  if (name.size() != kStepPrefix.size() + kStepDigits || !name.starts_with(kStepPrefix) ||
      name.find_first_not_of("0123456789", kStepPrefix.size()) != std::string::npos)
    return std::nullopt;
  return std::stoll(name.substr(kStepPrefix.size()));
}

void write_manifest(FileSystem& files, const std::string& directory, const std::string& id,
                    const CheckpointManifest& manifest) {
  const std::string temporary = temporary_directory(directory, id);
  const std::string text = to_json(manifest);
  files.make_directories(temporary);
  const auto file = files.create(temporary + "/" + kManifestFile);
  file->append(text.data(), static_cast<int64_t>(text.size()));
  file->sync();
  file->close();
}

void commit(FileSystem& files, const std::string& directory, const std::string& id, int64_t step) {
  const std::string temporary = temporary_directory(directory, id);
  files.sync_directory(temporary);
  if (files.exists(directory + "/" + step_directory(step))) remove_step(files, directory, step);
  files.rename_new(temporary, directory + "/" + step_directory(step));
  files.sync_directory(directory);
  // The first checkpoint of a run made the directory too.
  files.sync_directory(parent_of(directory));
}

void remove_step(FileSystem& files, const std::string& directory, int64_t step) {
  const std::string name = step_directory(step);
  const std::string hidden = temporary_directory(directory, "removed-" + name);
  if (files.exists(hidden)) files.remove_all(hidden);
  files.rename_new(directory + "/" + name, hidden);
  files.sync_directory(directory);
  files.remove_all(hidden);
}

void remove_leftovers(FileSystem& files, const std::string& directory) {
  for (const std::string& name : files.list(directory))
    if (is_leftover(name)) files.remove_all(directory + "/" + name);
}

void retain(FileSystem& files, const std::string& directory, int64_t keep,
            const std::set<int64_t>& also) {
  KENTE_CHECK(keep >= 1, "retain wants to keep at least one step");
  int64_t kept = 0;
  for (const StepInventory& step : list_checkpoints(files, directory)) {
    if (kept == keep && !also.contains(step.step)) remove_step(files, directory, step.step);
    if (kept < keep && step.sound()) ++kept;
  }
}

void forget_after(FileSystem& files, const std::string& directory, int64_t step) {
  for (const StepInventory& stored : list_checkpoints(files, directory))
    if (stored.step > step) remove_step(files, directory, stored.step);
}

}  // namespace kente
