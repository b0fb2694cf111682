#include <algorithm>
#include <cstring>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/paths.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

/// Appends to a file in whole chunks and keeps each chunk's digest, taken from memory.
class ChunkWriter {
 public:
  explicit ChunkWriter(WritableFile& file) : file_(file) {
    buffer_.reserve(static_cast<size_t>(kDigestChunk));
  }

  void append(const void* data, int64_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const int64_t room = kDigestChunk - static_cast<int64_t>(buffer_.size());
      const int64_t part = std::min(bytes, room);
      buffer_.insert(buffer_.end(), at, at + part);
      at += part;
      bytes -= part;
      if (static_cast<int64_t>(buffer_.size()) == kDigestChunk) flush();
    }
  }
  /// The digests, once everything was appended.
  std::vector<uint64_t> finish() {
    if (!buffer_.empty()) flush();
    return digests_;
  }

 private:
  void flush() {
    digests_.push_back(xxh3_64(buffer_.data(), buffer_.size()));
    file_.append(buffer_.data(), static_cast<int64_t>(buffer_.size()));
    buffer_.clear();
  }

  WritableFile& file_;
  std::vector<char> buffer_;
  std::vector<uint64_t> digests_;
};

/// Reads the file back: its SHA-256, after every chunk was found to be what memory held.
std::string read_back(FileSystem& files, const std::string& path, const Shard& shard) {
  const auto file = files.open(path);
  if (file->size() != shard.bytes)
    throw StorageError(path + ": " + std::to_string(file->size()) + " bytes, wrote " +
                       std::to_string(shard.bytes));
  std::vector<char> buffer(static_cast<size_t>(std::min(kDigestChunk, shard.bytes)));
  Sha256 hash;
  for (size_t chunk = 0; chunk < shard.chunk_xxh3.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kDigestChunk;
    const int64_t bytes = std::min(kDigestChunk, shard.bytes - begin);
    file->read_at(begin, buffer.data(), bytes);
    if (xxh3_64(buffer.data(), static_cast<size_t>(bytes)) != shard.chunk_xxh3[chunk])
      throw StorageError(path + ": bytes from " + std::to_string(begin) +
                         " on read back unlike what was written: check the disk");
    hash.update(buffer.data(), static_cast<size_t>(bytes));
  }
  return hash.finish();
}

}  // namespace

Shard write_shard(FileSystem& files, const std::string& directory, const std::string& id,
                  const std::string& file, const std::vector<NamedTensor>& tensors) {
  const std::string path = temporary_directory(directory, id) + "/" + file;
  files.make_directories(temporary_directory(directory, id));
  SafetensorsLayout layout = lay_out_safetensors(tensors);
  Shard shard;
  shard.file = file;
  shard.bytes = layout.bytes;
  {
    const auto out = files.create(path);
    ChunkWriter writer(*out);
    writer.append(layout.header.data(), static_cast<int64_t>(layout.header.size()));
    for (const size_t index : layout.order)
      writer.append(tensors[index].data.data, tensors[index].data.bytes());
    shard.chunk_xxh3 = writer.finish();
    out->sync();
    out->close();
  }
  shard.tensors = std::move(layout.tensors);
  shard.sha256 = read_back(files, path, shard);
  return shard;
}

}  // namespace kente
