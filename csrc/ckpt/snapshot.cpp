#include "csrc/ckpt/snapshot.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/failpoint.h"
#include "csrc/base/hash.h"
#include "csrc/base/proc_files.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

constexpr std::string_view kData = ".safetensors";
constexpr std::string_view kManifest = ".json";

/// A new file of so many bytes in memory that is really there, mapped.
char* allocate(const std::string& path, int64_t bytes) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) throw StorageError(path + ": " + std::strerror(errno) + "; no snapshots here");
  // Without it a full /dev/shm would be a SIGBUS in the middle of a copy. There are two slots, and
  // shared memory that is not free ends some process later.
  int failed = bytes < free_memory("") / 2 ? ::posix_fallocate(fd, 0, bytes) : ENOMEM;
  void* memory = MAP_FAILED;
  if (failed == 0) {
    memory = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_POPULATE, fd, 0);
    failed = errno;
  }
  ::close(fd);
  if (memory != MAP_FAILED) return static_cast<char*>(memory);
  ::unlink(path.c_str());
  throw StorageError(path + ": no room for a snapshot of " + std::to_string(bytes >> 20) +
                     " MiB: " + std::strerror(failed) +
                     "; free shared memory, or go on with checkpoints alone");
}

/// Snapshots are read back by their chunks; that stands for the whole in place of a second digest.
std::string digest_of_digests(const std::vector<uint64_t>& chunks) {
  return sha256_hex(
      {reinterpret_cast<const char*>(chunks.data()), chunks.size() * sizeof(uint64_t)});
}

CheckpointManifest load(FileSystem& files, const std::string& path) {
  const auto file = files.open(path);
  if (file->size() > kManifestCap) throw FormatError(path, -1, "too large for a manifest");
  std::string text(static_cast<size_t>(file->size()), '\0');
  file->read_at(0, text.data(), file->size());
  CheckpointManifest manifest = parse_manifest(text, path);
  if (manifest.shards.size() != 1 || !manifest.state.contains(kSnapshotStart))
    throw FormatError(path, -1, "not a snapshot's manifest");
  return manifest;
}

bool has_suffix(const std::string& name, std::string_view suffix) {
  return name.size() > suffix.size() && name.ends_with(suffix);
}

}  // namespace

std::string snapshot_directory(const std::string& shared_memory, const std::string& run_directory) {
  const std::string run = std::filesystem::weakly_canonical(run_directory).string();
  return shared_memory + "/kente-" + std::to_string(::getuid()) + "-" +
         hex64(xxh3_64(run.data(), run.size()));
}

SnapshotSlot::SnapshotSlot(const std::string& directory, const std::string& name,
                           const std::vector<NamedTensor>& tensors)
    : directory_(directory), name_(name) {
  SafetensorsLayout layout = lay_out_safetensors(tensors);
  shard_.file = name + std::string(kData);
  shard_.bytes = layout.bytes;
  shard_.tensors = std::move(layout.tensors);
  order_ = std::move(layout.order);
  memory_ = allocate(path(), shard_.bytes);
  std::memcpy(memory_, layout.header.data(), layout.header.size());
}

SnapshotSlot::~SnapshotSlot() { ::munmap(memory_, static_cast<size_t>(shard_.bytes)); }

void SnapshotSlot::hide() {
  if (sealed_.shards.empty()) return;
  ::unlink(manifest_path().c_str());
  sealed_ = CheckpointManifest();
}

void SnapshotSlot::copy(const std::vector<NamedTensor>& tensors) {
  hide();
  KENTE_CHECK(tensors.size() == order_.size(), name_ + ": other tensors than it was made for");
  for (size_t i = 0; i < order_.size(); ++i) {
    const NamedTensor& tensor = tensors[order_[i]];
    const StoredTensor& stored = shard_.tensors[i];
    KENTE_CHECK(tensor.data.bytes() == stored.bytes, name_ + ": " + tensor.name + " changed size");
    KENTE_FAILPOINT("snapshot.copy");
    std::memcpy(memory_ + stored.offset, tensor.data.data, static_cast<size_t>(stored.bytes));
  }
}

std::vector<NamedTensor> SnapshotSlot::tensors() const {
  std::vector<NamedTensor> tensors(order_.size());
  for (size_t i = 0; i < order_.size(); ++i) {
    const StoredTensor& stored = shard_.tensors[i];
    tensors[order_[i]] = {.name = stored.name,
                          .shape = stored.shape,
                          .data = {.data = memory_ + stored.offset,
                                   .count = stored.bytes / size_of(stored.dtype),
                                   .dtype = stored.dtype},
                          .piece_of = stored.piece_of};
  }
  return tensors;
}

std::vector<uint64_t> SnapshotSlot::digests() const {
  std::vector<uint64_t> digests;
  for (int64_t begin = 0; begin < shard_.bytes; begin += kDigestChunk)
    digests.push_back(xxh3_64(memory_ + begin,
                              static_cast<size_t>(std::min(kDigestChunk, shard_.bytes - begin))));
  return digests;
}

void SnapshotSlot::seal(FileSystem& files, CheckpointManifest manifest) {
  Shard shard = shard_;
  shard.chunk_xxh3 = digests();
  shard.sha256 = digest_of_digests(shard.chunk_xxh3);
  manifest.add(std::move(shard));
  publish(files, std::move(manifest));
}

void SnapshotSlot::seal_copy(FileSystem& files, CheckpointManifest manifest) {
  if (manifest.shards.size() != 1 || manifest.shards.front().bytes != shard_.bytes ||
      manifest.shards.front().chunk_xxh3 != digests())
    throw FormatError(path(), -1, "what arrived is not what was sent");
  manifest.state[kSnapshotCopy] = shard_.file;
  publish(files, std::move(manifest));
}

void SnapshotSlot::publish(FileSystem& files, CheckpointManifest manifest) {
  const std::string text = to_json(manifest), temporary = manifest_path() + ".tmp";
  if (files.exists(temporary)) files.remove(temporary);
  const auto file = files.create(temporary);
  file->append(text.data(), static_cast<int64_t>(text.size()));
  file->close();
  KENTE_FAILPOINT("snapshot.seal");
  files.rename_over(temporary, manifest_path());
  sealed_ = std::move(manifest);
}

std::vector<StepInventory> list_snapshots(FileSystem& files, const std::string& directory) {
  std::vector<StepInventory> found;
  for (const std::string& name : files.list(directory)) {
    if (!has_suffix(name, kManifest)) continue;
    StepInventory entry;
    try {
      entry.manifest = load(files, directory + "/" + name);
      entry.step = entry.manifest.step;
      entry.manifest_sha256 = digest_of(entry.manifest);
      const Shard& shard = entry.manifest.shards.front();
      const auto copy = entry.manifest.state.find(kSnapshotCopy);
      const std::string& file = copy == entry.manifest.state.end() ? shard.file : copy->second;
      if (file.find('/') != std::string::npos)
        throw FormatError(directory + "/" + name, -1, "names a file elsewhere");
      if (files.open(directory + "/" + file)->size() == shard.bytes) {
        entry.present.push_back(shard.file);
      } else {
        entry.damaged.push_back(shard.file);
      }
    } catch (const Error& unreadable) {
      if (exit_status(unreadable) == ExitStatus::kBug) throw;
      entry = StepInventory();
      entry.problem = unreadable.what();
    }
    found.push_back(std::move(entry));
  }
  return found;
}

MergedSnapshots merge_snapshots(const std::vector<std::vector<StepInventory>>& found,
                                const std::string& recipe_sha256, const std::string& run_id,
                                int64_t at_most) {
  struct Whole {
    CheckpointManifest manifest;
    std::set<std::string> files;
    std::vector<std::vector<std::string>> present;  // by domain
  };
  std::map<std::tuple<int64_t, std::string, std::string>, Whole> steps;  // step, run, start
  MergedSnapshots merged{
      .found = std::vector<std::vector<StepInventory>>(found.size()),
      .copies = std::vector<std::map<std::pair<int64_t, std::string>, std::string>>(found.size())};
  for (size_t domain = 0; domain < found.size(); ++domain)
    for (const StepInventory& part : found[domain]) {
      const CheckpointManifest& manifest = part.manifest;
      if (!part.sound() || part.present.empty() || part.step > at_most) continue;
      if (manifest.recipe_sha256 != recipe_sha256) continue;
      if (!run_id.empty() && manifest.run_id != run_id) continue;
      Whole& whole = steps[{part.step, manifest.run_id, manifest.state.at(kSnapshotStart)}];
      whole.present.resize(found.size());
      Shard shard = manifest.shards.front();
      whole.present[domain].push_back(shard.file);
      if (const auto copy = manifest.state.find(kSnapshotCopy); copy != manifest.state.end())
        merged.copies[domain][{part.step, shard.file}] = copy->second;
      if (!whole.files.insert(shard.file).second) continue;  // a copy of it is elsewhere
      if (whole.manifest.shards.empty()) {
        whole.manifest = manifest;
        whole.manifest.shards.clear();
        whole.manifest.state.erase(kSnapshotCopy);
      }
      shard.domain = static_cast<int64_t>(domain);
      whole.manifest.add(std::move(shard));
    }
  for (auto& [key, whole] : steps) {
    std::sort(whole.manifest.shards.begin(), whole.manifest.shards.end(),
              [](const Shard& a, const Shard& b) { return a.file < b.file; });
    for (size_t domain = 0; domain < found.size(); ++domain) {
      if (whole.present[domain].empty()) continue;
      StepInventory entry;
      entry.step = std::get<0>(key);
      entry.manifest = whole.manifest;
      entry.manifest_sha256 = digest_of(whole.manifest);
      entry.present = whole.present[domain];
      merged.found[domain].push_back(std::move(entry));
    }
  }
  return merged;
}

void remove_slot(FileSystem& files, std::unique_ptr<SnapshotSlot>& slot, Log& log) {
  slot->hide();
  const std::string path = slot->path();
  slot.reset();
  try {
    files.remove(path);
  } catch (const StorageError& failure) {
    log.warn(std::string("a snapshot stays in memory: ") + failure.what());
  }
}

void remove_snapshots(FileSystem& files, const std::string& directory,
                      const std::function<bool(const std::string& data_file)>& keep) {
  std::vector<std::string> data;
  for (const std::string& name : files.list(directory)) {
    // A slot's name has no dot.
    const std::string owner = name.substr(0, name.find('.')) + std::string(kData);
    if (keep(owner)) continue;
    if (has_suffix(name, kData)) {
      data.push_back(name);
    } else if (has_suffix(name, kManifest) || name.ends_with(".tmp")) {
      files.remove(directory + "/" + name);
    }
  }
  for (const std::string& name : data) files.remove(directory + "/" + name);
}

}  // namespace kente
