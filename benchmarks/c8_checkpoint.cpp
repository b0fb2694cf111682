// C8: what a checkpoint of 1.5 GB costs the training beside it.
//
//   build/cpu/bin/c8_checkpoint DIRECTORY      prints one line of JSON
//
// One rank computes (GEMMs, a quarter of a second a step) and saves its state in DIRECTORY with the
// trainer's own Saver, from a copy; then the file leaves the cache and is loaded. Stall: how long
// begin() kept the training. Lost: the stall and what steps took longer than before until the
// checkpoint was durable and read back. Run by benchmarks/c8_checkpoint.py, beside its peers.

#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <vector>

#include "benchmarks/trainee.h"
#include "comm/local.h"
#include "csrc/base/clock.h"
#include "csrc/base/log_file.h"
#include "csrc/train/prepare_process.h"
#include "csrc/train/saver.h"

namespace kente {
namespace {

constexpr int64_t kTensors = 96, kElements = 4 << 20;  // of 4 bytes: 1.5 GiB
constexpr int kStepsBefore = 12, kProducts = 16;

/// A step of a training that only computes.
double step(const at::Tensor& a, const at::Tensor& b) {
  const double begin = now_seconds();
  for (int i = 0; i < kProducts; ++i) at::mm(a, b);
  return now_seconds() - begin;
}

std::vector<NamedTensor> make_state(std::vector<std::vector<float>>& storage) {
  std::vector<NamedTensor> tensors;
  for (int64_t i = 0; i < kTensors; ++i) {
    storage.emplace_back(static_cast<size_t>(kElements), static_cast<float>(i) + 0.5F);
    tensors.push_back(
        {.name = fmt::format("tensor.{:03d}", i),
         .shape = {kElements},
         .data = {.data = storage.back().data(), .count = kElements, .dtype = DType::kF32}});
  }
  return tensors;
}

double copy_seconds(const std::vector<NamedTensor>& tensors) {
  std::vector<std::vector<float>> copies(tensors.size(),
                                         std::vector<float>(static_cast<size_t>(kElements), 1));
  const double begin = now_seconds();
  for (size_t i = 0; i < tensors.size(); ++i)
    std::memcpy(copies[i].data(), tensors[i].data.data,
                static_cast<size_t>(tensors[i].data.bytes()));
  return now_seconds() - begin;
}

void drop_from_cache(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

/// Reads the newest checkpoint into memory, every byte checked against its digest.
double load_seconds(FileSystem& files, const std::string& directory) {
  const StepInventory newest = list_checkpoints(files, directory).at(0);
  const Shard& shard = newest.manifest.shards.at(0);
  const std::string path = directory + "/" + step_directory(newest.step) + "/" + shard.file;
  std::vector<float> to(static_cast<size_t>(kElements), 1);
  drop_from_cache(path);
  const double begin = now_seconds();
  ShardReader reader(files, path, shard);
  std::vector<TensorPart> parts;
  for (const StoredTensor& tensor : shard.tensors)
    parts.push_back({.tensor = tensor, .first = 0, .bytes = tensor.bytes});
  reader.announce(parts);
  for (const StoredTensor& tensor : shard.tensors) reader.read(tensor, to.data());
  return now_seconds() - begin;
}

int run(const std::string& directory) {
  prepare_process();
  const auto world = make_single();
  const auto files = posix_file_system();
  const auto log = null_log();
  const std::vector<StoragePlace> places = {
      {.directory = directory + "/ckpt", .domains = {.domain_of = {0}, .leader_of = {0}}}};
  std::filesystem::create_directories(places[0].directory);
  std::vector<std::vector<float>> storage;
  const std::vector<NamedTensor> state = make_state(storage);
  const double copy = copy_seconds(state);
  const at::Tensor a = at::ones({1024, 1024}), b = at::ones({1024, 1024});
  std::vector<double> before;
  for (int i = 0; i < kStepsBefore; ++i) before.push_back(step(a, b));
  const double usual = median_of(before);

  Saver saver(places, *world, *files, *log, 600);
  saver.prepare(state);
  while (saver.working()) step(a, b);
  CheckpointManifest manifest;
  manifest.step = 1;
  manifest.run_id = "0123456789abcdef";
  manifest.recipe_sha256 = std::string(64, 'a');
  const double begin = now_seconds();
  saver.begin(manifest, state, Saver::Source::kCopied, {});
  const double stall = now_seconds() - begin;
  double lost = stall, durable = 0;
  while (durable == 0) {
    lost += std::max(0.0, step(a, b) - usual);
    const double advancing = now_seconds();
    if (saver.working()) continue;
    const std::vector<Saver::News> news = saver.advance();
    lost += now_seconds() - advancing;
    if (!news.empty()) durable = news.at(0).durable_seconds;
  }
  saver.finish();
  const double load = load_seconds(*files, places[0].directory);
  fmt::print(
      "{{\"gib\": {}, \"copy\": {}, \"step\": {}, \"stall\": {}, \"lost\": {}, \"durable\": {}, "
      "\"load\": {}}}\n",
      static_cast<double>(kTensors * kElements * 4) / (1 << 30), copy, usual, stall, lost, durable,
      load);
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: c8_checkpoint DIRECTORY\n");
    return 2;
  }
  return kente::run(argv[1]);
}
