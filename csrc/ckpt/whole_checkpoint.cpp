#include "csrc/ckpt/whole_checkpoint.h"

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

/// Every tensor that a manifest names, whole or in pieces.
std::vector<WholeCheckpoint::Tensor> tensors_of(const CheckpointManifest& manifest) {
  std::map<std::string, WholeCheckpoint::Tensor> tensors;
  for (const Shard& shard : manifest.shards)
    for (const StoredTensor& stored : shard.tensors) {
      WholeCheckpoint::Tensor tensor{
          .name = stored.name, .dtype = stored.dtype, .shape = stored.shape, .bytes = stored.bytes};
      if (stored.piece_of) {
        tensor.name = stored.piece_of->name;
        tensor.shape = stored.piece_of->shape;
        // The manifest's parser refuses one that has no such number.
        tensor.bytes = checked_bytes(tensor.shape, stored.dtype).value();
      }
      tensors.emplace(tensor.name, tensor);
    }
  std::vector<WholeCheckpoint::Tensor> all;
  all.reserve(tensors.size());
  for (auto& [name, tensor] : tensors) all.push_back(std::move(tensor));
  return all;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

WholeCheckpoint::WholeCheckpoint(FileSystem& files, const std::vector<std::string>& directories,
                                 std::optional<int64_t> step)
    : files_(files), directories_(directories) {
  std::vector<std::vector<StepInventory>> domains;
  std::map<int64_t, CheckpointManifest> manifests;
  for (const std::string& directory : directories) {
    domains.push_back(list_checkpoints(files, directory));
    std::erase_if(domains.back(), [&](const StepInventory& stored) {
      return !stored.problem.empty() || (step && stored.step != *step);
    });
    for (const StepInventory& stored : domains.back()) manifests[stored.step] = stored.manifest;
  }
  std::vector<std::string> why;
  for (auto newest = manifests.rbegin(); newest != manifests.rend(); ++newest) {
    std::vector<WantedTensor> wanted;
    tensors_ = tensors_of(newest->second);
    for (const Tensor& tensor : tensors_)
      wanted.push_back({.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape});
    std::vector<std::vector<StepInventory>> of_step = domains;
    for (std::vector<StepInventory>& inventory : of_step)
      std::erase_if(inventory, [&](const StepInventory& s) { return s.step != newest->first; });
    RestoreChoice choice = newest_complete(of_step, wanted);
    if (choice.point) {
      point_ = std::move(*choice.point);
      return;
    }
    why.insert(why.end(), choice.passed_over.begin(), choice.passed_over.end());
  }
  throw UsageError(joined(directories) + ": no complete checkpoint" +
                   (step ? " of step " + std::to_string(*step) : "") +
                   (why.empty() ? "" : ": " + why.front()) + "; name the directories of all nodes");
}

int64_t WholeCheckpoint::bytes() const {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors_) bytes += tensor.bytes;
  return bytes;
}

ShardReader& WholeCheckpoint::reader(size_t shard) {
  std::unique_ptr<ShardReader>& reader = readers_[shard];
  if (!reader) {
    const auto domain = static_cast<size_t>(point_.holders.at(shard).front());
    const Shard& stored = point_.manifest.shards[shard];
    reader = std::make_unique<ShardReader>(
        files_, directories_[domain] + "/" + step_directory(point_.step) + "/" + stored.file,
        stored);
  }
  return *reader;
}

void WholeCheckpoint::read(const Tensor& tensor, void* out) {
  for (const TensorSource& source : point_.tensors.at(tensor.name))
    reader(source.shard)
        .read(source.tensor, static_cast<char*>(out) + source.first() * size_of(tensor.dtype));
}

}  // namespace kente
