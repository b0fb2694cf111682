#include <cstdio>

#include "csrc/base/errors.h"
#include "csrc/ckpt/paths.h"
#include "csrc/ckpt/whole_checkpoint.h"

namespace kente {

CheckpointManifest reshard(WholeCheckpoint& from, FileSystem& files, const std::string& directory,
                           int64_t shards, const ByteProgress& progress) {
  KENTE_CHECK(shards >= 1, "a checkpoint has at least one shard");
  const std::string id = "reshard-" + std::to_string(from.step());
  files.make_directories(directory);
  remove_leftovers(files, directory);
  CheckpointManifest manifest = from.manifest();
  manifest.shards.clear();
  manifest.version = CheckpointManifest().version;
  const int64_t total = from.bytes();
  size_t next = 0;
  for (int64_t shard = 0, done = 0; shard < shards; ++shard) {
    std::vector<std::vector<char>> storage;
    std::vector<NamedTensor> tensors;
    // The last one takes what is left.
    while (next < from.tensors().size() &&
           (shard + 1 == shards || done * shards < total * (shard + 1))) {
      const WholeCheckpoint::Tensor& tensor = from.tensors()[next++];
      storage.emplace_back(static_cast<size_t>(tensor.bytes));
      from.read(tensor, storage.back().data());
      tensors.push_back({.name = tensor.name,
                         .shape = tensor.shape,
                         .data = {.data = storage.back().data(),
                                  .count = tensor.bytes / size_of(tensor.dtype),
                                  .dtype = tensor.dtype}});
      done += tensor.bytes;
    }
    char file[40];
    std::snprintf(file, sizeof file, "rank-%04lld.safetensors", static_cast<long long>(shard));
    const Shard written = write_shard(files, directory, id, file, tensors);
    read_back(files, temporary_directory(directory, id) + "/" + file, written);
    manifest.add(written);
    if (progress) progress(done, total);
  }
  write_manifest(files, directory, id, manifest);
  commit(files, directory, id, from.step());
  return manifest;
}

}  // namespace kente
