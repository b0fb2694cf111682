#include <algorithm>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/paths.h"

namespace kente {
namespace {

CheckpointManifest load_manifest(FileSystem& files, const std::string& path, int64_t step) {
  const auto file = files.open(path);
  if (file->size() > kManifestCap)
    throw FormatError(path, -1, std::to_string(file->size()) + " bytes are too many");
  std::string text(static_cast<size_t>(file->size()), '\0');
  file->read_at(0, text.data(), file->size());
  CheckpointManifest manifest = parse_manifest(text, path);
  if (manifest.step != step)
    throw FormatError(
        path, -1,
        "of step " + std::to_string(manifest.step) + ", wants step " + std::to_string(step));
  return manifest;
}

bool has_size(FileSystem& files, const std::string& path, int64_t bytes) {
  try {
    return files.open(path)->size() == bytes;
  } catch (const StorageError&) {
    return false;  // a link, a directory, or unreadable: not the shard
  }
}

void look_for_shards(FileSystem& files, const std::string& path, StepInventory& step) {
  const std::vector<std::string> names = files.list(path);
  const std::set<std::string> here(names.begin(), names.end());
  std::set<int64_t> domains_here;
  for (const Shard& shard : step.manifest.shards)
    if (here.contains(shard.file)) domains_here.insert(shard.domain);
  if (step.manifest.domains() == 1) domains_here.insert(0);
  for (const Shard& shard : step.manifest.shards) {
    if (here.contains(shard.file) && has_size(files, path + "/" + shard.file, shard.bytes))
      step.present.push_back(shard.file);
    else if (domains_here.contains(shard.domain))
      step.damaged.push_back(shard.file);
  }
}

}  // namespace

std::vector<StepInventory> list_checkpoints(FileSystem& files, const std::string& directory) {
  std::vector<StepInventory> steps;
  for (const std::string& name : files.list(directory)) {
    const std::optional<int64_t> number = step_of_directory(name);
    if (!number) continue;
    StepInventory step;
    step.step = *number;
    const std::string path = directory + "/" + name;
    try {
      step.manifest = load_manifest(files, path + "/" + kManifestFile, *number);
      step.manifest_sha256 = digest_of(step.manifest);
      look_for_shards(files, path, step);
    } catch (const FormatError& damaged) {
      step.problem = damaged.what();
    } catch (const StorageError& unreadable) {
      step = StepInventory();
      step.step = *number;
      step.problem = unreadable.what();
    }
    steps.push_back(std::move(step));
  }
  std::sort(steps.begin(), steps.end(),
            [](const StepInventory& a, const StepInventory& b) { return a.step > b.step; });
  return steps;
}

}  // namespace kente
