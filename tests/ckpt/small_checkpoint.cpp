#include "tests/ckpt/small_checkpoint.h"

#include <gtest/gtest.h>

#include <cstring>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/base/rng.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {

SmallState::SmallState(const std::vector<Entry>& entries, int64_t step) {
  for (const Entry& entry : entries) {
    std::vector<char> bytes(static_cast<size_t>(*checked_bytes(entry.shape, entry.dtype)));
    const uint64_t stream = xxh3_64(entry.name.data(), entry.name.size());
    uint64_t word = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (i % 8 == 0) word = random_bits(static_cast<uint64_t>(step), RngUse::kTest, stream, i / 8);
      bytes[i] = static_cast<char>(word >> (i % 8 * 8));
    }
    storage_.push_back(std::move(bytes));
    std::vector<char>& kept = storage_.back();
    tensors_.push_back(
        {entry.name,
         entry.shape,
         {kept.data(), static_cast<int64_t>(kept.size()) / size_of(entry.dtype), entry.dtype}});
  }
}

std::vector<WantedTensor> SmallState::wanted() const {
  std::vector<WantedTensor> wanted;
  for (const NamedTensor& tensor : tensors_)
    wanted.push_back({tensor.name, tensor.data.dtype, tensor.shape});
  return wanted;
}

const std::vector<char>& SmallState::bytes_of(const std::string& name) const {
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (tensors_[i].name == name) return storage_[i];
  throw InternalError("no tensor " + name);
}

std::vector<SmallState::Entry> first_shard_entries() {
  return {{"layers.0.weight", DType::kF32, {7, 11}},
          {"layers.0.mask", DType::kU8, {5}},
          {"layers.0.half", DType::kBF16, {3, 3}}};
}

std::vector<SmallState::Entry> second_shard_entries() {
  return {{"layers.1.weight", DType::kF32, {13}}, {"layers.1.sum", DType::kF64, {2, 0, 3}}};
}

namespace {

CheckpointManifest write_and_commit(FileSystem& files, const std::string& directory, int64_t step,
                                    const std::vector<std::vector<NamedTensor>>& shards) {
  const std::string id = "step-" + std::to_string(step);
  CheckpointManifest manifest;
  manifest.step = step;
  manifest.run_id = "test";
  manifest.recipe_sha256 = sha256_hex("recipe");
  manifest.samples = step * 16;
  manifest.state = {{"tokens", std::to_string(step * 256)}, {"note", "\u20ac \" \\ \n"}};
  for (size_t rank = 0; rank < shards.size(); ++rank)
    manifest.add(write_shard(files, directory, id,
                             "rank-000" + std::to_string(rank) + ".safetensors", shards[rank]));
  write_manifest(files, directory, id, manifest);
  commit(files, directory, id, step);
  return manifest;
}

}  // namespace

CheckpointManifest write_small_checkpoint(FileSystem& files, const std::string& directory,
                                          int64_t step) {
  const SmallState first(first_shard_entries(), step), second(second_shard_entries(), step);
  return write_and_commit(files, directory, step, {first.tensors(), second.tensors()});
}

CheckpointManifest write_small_checkpoint_in_pieces(FileSystem& files, const std::string& directory,
                                                    int64_t step) {
  const SmallState first(first_shard_entries(), step), second(second_shard_entries(), step);
  std::vector<std::vector<NamedTensor>> shards = {first.tensors(), second.tensors()};
  NamedTensor& front = shards[0][0];  // "layers.0.weight", f32 [7, 11]
  NamedTensor back = front;
  constexpr int64_t kCut = 40;
  const PieceOf whole{.name = front.name, .shape = front.shape, .first = 0};
  front.piece_of = whole;
  front.name += "@0";
  front.data.count = kCut;
  back.piece_of = PieceOf{.name = whole.name, .shape = whole.shape, .first = kCut};
  back.name += "@40";
  back.data.count -= kCut;
  back.data.data = static_cast<float*>(back.data.data) + kCut;
  front.shape = {front.data.count};
  back.shape = {back.data.count};
  shards[1].push_back(back);
  return write_and_commit(files, directory, step, shards);
}

int64_t load_newest(FileSystem& files, const std::string& directory) {
  std::vector<WantedTensor> wanted = SmallState(first_shard_entries(), 0).wanted();
  for (const WantedTensor& tensor : SmallState(second_shard_entries(), 0).wanted())
    wanted.push_back(tensor);
  const RestoreChoice choice = newest_complete({list_checkpoints(files, directory)}, wanted);
  if (!choice.point) return -1;
  const RestorePoint& point = *choice.point;
  const SmallState first(first_shard_entries(), point.step),
      second(second_shard_entries(), point.step);
  for (const auto& [name, sources] : point.tensors) {
    std::vector<char> bytes;
    for (const TensorSource& source : sources) {
      const Shard& shard = point.manifest.shards[source.shard];
      const ShardReader reader(
          files, directory + "/" + step_directory(point.step) + "/" + shard.file, shard);
      const size_t begin = bytes.size();
      bytes.resize(begin + static_cast<size_t>(source.tensor.bytes));
      reader.read(source.tensor, bytes.data() + begin);
    }
    const bool in_first = name.starts_with("layers.0.");
    EXPECT_EQ(bytes, (in_first ? first : second).bytes_of(name)) << name;
  }
  return point.step;
}

}  // namespace kente
