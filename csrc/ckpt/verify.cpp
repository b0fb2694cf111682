#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/chunk_reader.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

/// Names of the tensors that have a byte in [begin, end): at most three, then a count.
std::string tensors_in(const Shard& shard, int64_t begin, int64_t end) {
  std::string names;
  int64_t count = 0;
  for (const StoredTensor& tensor : shard.tensors) {
    if (tensor.offset >= end || tensor.offset + tensor.bytes <= begin) continue;
    if (count < 3) names += (count ? ", " : "") + tensor.name;
    ++count;
  }
  if (count == 0) return "only the header";
  if (count > 3) names += " and " + std::to_string(count - 3) + " more";
  return names;
}

/// In an order of their own, without what a safetensors header does not say.
std::vector<StoredTensor> by_name(std::vector<StoredTensor> tensors) {
  for (StoredTensor& tensor : tensors) tensor.piece_of.reset();
  std::sort(tensors.begin(), tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  return tensors;
}

void verify_header(const ReadableFile& file, const std::string& path, const Shard& shard,
                   VerifyReport& report) {
  try {
    std::string prefix(8, '\0');
    if (file.size() >= 8) file.read_at(0, prefix.data(), 8);
    const int64_t header = safetensors_header_bytes(prefix, file.size(), path);
    prefix.resize(static_cast<size_t>(header));
    file.read_at(0, prefix.data(), header);
    const auto tensors = parse_safetensors_header(prefix, file.size(), path);
    if (by_name(tensors) != by_name(shard.tensors))
      report.problems.push_back(path + ": the header names other tensors than the manifest");
  } catch (const FormatError& damaged) {
    report.problems.push_back(damaged.what());
  }
}

void verify_shard(FileSystem& files, const std::string& path, const Shard& shard,
                  VerifyReport& report, const std::function<void(int64_t)>& read) {
  ChunkReader reader(files, path, shard, ChunkReader::From::kMedium);
  verify_header(reader.file(), path, shard, report);
  reader.announce_all();
  Sha256 hash;
  for (int64_t index = 0; index < reader.chunks(); ++index) {
    const Chunk chunk = reader.chunk(index);
    hash.update(chunk.data, static_cast<size_t>(chunk.bytes));
    const int64_t end = chunk.begin + chunk.bytes;
    if (!chunk.intact)
      report.problems.push_back(path + ": bytes " + std::to_string(chunk.begin) + " to " +
                                std::to_string(end - 1) +
                                " are damaged; tensors: " + tensors_in(shard, chunk.begin, end));
    read(chunk.bytes);
  }
  if (hash.finish() != shard.sha256) report.problems.push_back(path + ": SHA-256 differs");
  ++report.files;
  report.bytes += shard.bytes;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

VerifyReport verify_checkpoint(FileSystem& files, const std::string& directory,
                               const StepInventory& step, const ByteProgress& progress) {
  VerifyReport report;
  if (!step.problem.empty()) {
    report.problems.push_back(step.problem);
    return report;
  }
  const std::string root = directory + "/" + step_directory(step.step) + "/";
  int64_t done = 0, total = 0;
  for (const Shard& shard : step.manifest.shards)
    if (contains(step.present, shard.file)) total += shard.bytes;
  for (const Shard& shard : step.manifest.shards) {
    if (contains(step.damaged, shard.file)) {
      report.problems.push_back(root + shard.file + ": missing, or not of " +
                                std::to_string(shard.bytes) + " bytes");
    } else if (!contains(step.present, shard.file)) {
      report.elsewhere.push_back(shard.file);
    } else {
      try {
        verify_shard(files, root + shard.file, shard, report, [&](int64_t bytes) {
          done += bytes;
          if (progress) progress(done, total);
        });
      } catch (const StorageError& unreadable) {
        report.problems.push_back(unreadable.what());
      }
    }
  }
  return report;
}

}  // namespace kente
