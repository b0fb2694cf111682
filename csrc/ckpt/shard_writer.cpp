#include <algorithm>
#include <cstring>
#include <future>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/chunk_buffer.h"
#include "csrc/ckpt/chunk_reader.h"
#include "csrc/ckpt/paths.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

/// Appends to a file in whole chunks; the digests are of what memory held. While the disk has one
/// chunk, it is digested and the next one is filled.
class ChunkWriter {
 public:
  explicit ChunkWriter(WritableFile& file) : file_(file) {}

  void append(const void* data, int64_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const int64_t part = std::min(bytes, kDigestChunk - filled_);
      std::memcpy(filling_->data() + filled_, at, static_cast<size_t>(part));
      at += part;
      bytes -= part;
      filled_ += part;
      if (filled_ == kDigestChunk) flush();
    }
  }
  /// Everything was appended: its digests.
  void finish(Shard& shard) {
    if (filled_ > 0) flush();
    if (written_.valid()) written_.get();
    shard.chunk_xxh3 = std::move(digests_);
    shard.sha256 = sha256_.finish();
  }

 private:
  void flush() {
    if (written_.valid()) written_.get();
    written_ = std::async(std::launch::async, [this, bytes = filled_, data = filling_->data()] {
      file_.append(data, bytes);
    });
    const auto size = static_cast<size_t>(filled_);
    digests_.push_back(xxh3_64(filling_->data(), size));
    sha256_.update(filling_->data(), size);
    std::swap(filling_, other_);
    filled_ = 0;
  }

  WritableFile& file_;
  ChunkBuffer buffers_[2];
  ChunkBuffer* filling_ = &buffers_[0];
  ChunkBuffer* other_ = &buffers_[1];
  int64_t filled_ = 0;
  std::vector<uint64_t> digests_;
  Sha256 sha256_;
  std::future<void> written_;  // last: it waits for the disk, which has a buffer
};

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
  return shard;
}

void read_back(FileSystem& files, const std::string& path, const Shard& shard) {
  ChunkReader reader(files, path, shard, ChunkReader::From::kMedium);
  if (reader.file().size() != shard.bytes)
    throw StorageError(path + ": " + std::to_string(reader.file().size()) + " bytes, wrote " +
                       std::to_string(shard.bytes));
  reader.announce_all();
  for (int64_t index = 0; index < reader.chunks(); ++index) {
    const Chunk chunk = reader.chunk(index);
    if (!chunk.intact)
      throw StorageError(path + ": bytes from " + std::to_string(chunk.begin) +
                         " on read back unlike what was written: check the disk");
  }
}

void copy_shard(FileSystem& files, const std::string& path, const Shard& shard,
                const std::string& directory, const std::string& id) {
  ChunkReader from(files, path, shard, ChunkReader::From::kMedium);
  if (from.file().size() != shard.bytes)
    throw FormatError(path, -1, "not of " + std::to_string(shard.bytes) + " bytes");
  const std::string target = temporary_directory(directory, id) + "/" + shard.file;
  files.make_directories(temporary_directory(directory, id));
  const auto out = files.create(target);
  from.announce_all();
  for (int64_t index = 0; index < from.chunks(); ++index) {
    const Chunk chunk = from.chunk(index);
    if (!chunk.intact) throw FormatError(path, chunk.begin, "damaged, not copied");
    out->append(chunk.data, chunk.bytes);
  }
  out->sync();
  out->close();
  read_back(files, target, shard);
}

}  // namespace kente
