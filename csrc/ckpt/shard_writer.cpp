#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <new>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/paths.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

/// Room for one chunk, aligned as file systems want it for reading and writing past their cache.
class ChunkBuffer {
 public:
  ChunkBuffer()
      : bytes_(static_cast<char*>(std::aligned_alloc(kPage, static_cast<size_t>(kDigestChunk)))) {
    if (!bytes_) throw std::bad_alloc();
  }
  char* data() { return bytes_.get(); }

 private:
  static constexpr size_t kPage = 4096;
  struct Free {
    void operator()(char* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<char, Free> bytes_;
};

/// Appends to a file in whole chunks; the digests are of what memory held. SHA-256 is computed
/// beside the disk's work.
class ChunkWriter {
 public:
  explicit ChunkWriter(WritableFile& file) : file_(file) {}

  void append(const void* data, int64_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const int64_t part = std::min(bytes, kDigestChunk - filled_);
      std::memcpy(buffer_.data() + filled_, at, static_cast<size_t>(part));
      at += part;
      bytes -= part;
      filled_ += part;
      if (filled_ == kDigestChunk) flush();
    }
  }
  /// Everything was appended: its digests.
  void finish(Shard& shard) {
    if (filled_ > 0) flush();
    shard.chunk_xxh3 = std::move(digests_);
    shard.sha256 = sha256_.finish();
  }

 private:
  void flush() {
    const auto size = static_cast<size_t>(filled_);
    const auto hashing = std::async(std::launch::async, [&] {
      digests_.push_back(xxh3_64(buffer_.data(), size));
      sha256_.update(buffer_.data(), size);
    });
    file_.append(buffer_.data(), filled_);
    hashing.wait();
    filled_ = 0;
  }

  WritableFile& file_;
  ChunkBuffer buffer_;
  int64_t filled_ = 0;
  std::vector<uint64_t> digests_;
  Sha256 sha256_;
};

/// Reads the file back, from the medium where the file system lets us: every chunk must be what
/// memory held.
void read_back(FileSystem& files, const std::string& path, const Shard& shard) {
  const auto file = files.open(path);
  if (file->size() != shard.bytes)
    throw StorageError(path + ": " + std::to_string(file->size()) + " bytes, wrote " +
                       std::to_string(shard.bytes));
  ChunkBuffer buffer;
  for (size_t chunk = 0; chunk < shard.chunk_xxh3.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kDigestChunk;
    const int64_t bytes = std::min(kDigestChunk, shard.bytes - begin);
    file->read_at(begin, buffer.data(), bytes);
    if (xxh3_64(buffer.data(), static_cast<size_t>(bytes)) != shard.chunk_xxh3[chunk])
      throw StorageError(path + ": bytes from " + std::to_string(begin) +
                         " on read back unlike what was written: check the disk");
  }
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
    writer.finish(shard);
    out->sync();
    out->close();
  }
  shard.tensors = std::move(layout.tensors);
  read_back(files, path, shard);
  return shard;
}

void copy_shard(FileSystem& files, const std::string& path, const Shard& shard,
                const std::string& directory, const std::string& id) {
  const auto from = files.open(path);
  if (from->size() != shard.bytes)
    throw FormatError(path, -1, "not of " + std::to_string(shard.bytes) + " bytes");
  const std::string target = temporary_directory(directory, id) + "/" + shard.file;
  files.make_directories(temporary_directory(directory, id));
  const auto out = files.create(target);
  ChunkBuffer buffer;
  for (size_t chunk = 0; chunk < shard.chunk_xxh3.size(); ++chunk) {
    const int64_t begin = static_cast<int64_t>(chunk) * kDigestChunk;
    const int64_t bytes = std::min(kDigestChunk, shard.bytes - begin);
    from->read_at(begin, buffer.data(), bytes);
    if (xxh3_64(buffer.data(), static_cast<size_t>(bytes)) != shard.chunk_xxh3[chunk])
      throw FormatError(path, begin, "damaged, not copied");
    out->append(buffer.data(), bytes);
  }
  out->sync();
  out->close();
  read_back(files, target, shard);
}

}  // namespace kente
