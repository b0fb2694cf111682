#include <algorithm>
#include <cstring>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/checkpoint.h"

namespace kente {

ShardReader::ShardReader(FileSystem& files, std::string path, Shard shard)
    : file_(files.open(path)), path_(std::move(path)), shard_(std::move(shard)) {
  if (file_->size() != shard_.bytes)
    throw FormatError(path_, -1,
                      std::to_string(file_->size()) + " bytes, the manifest says " +
                          std::to_string(shard_.bytes) + ": use another copy or an older step");
}

void ShardReader::load_chunk(int64_t chunk, const std::string& tensor) const {
  if (chunk == chunk_index_) return;
  chunk_index_ = -1;
  const int64_t begin = chunk * kDigestChunk;
  const int64_t bytes = std::min(kDigestChunk, shard_.bytes - begin);
  chunk_.resize(static_cast<size_t>(bytes));
  file_->read_at(begin, chunk_.data(), bytes);
  if (xxh3_64(chunk_.data(), chunk_.size()) != shard_.chunk_xxh3.at(static_cast<size_t>(chunk)))
    throw FormatError(path_, begin,
                      "tensor " + tensor + ": the chunk of " + std::to_string(bytes) +
                          " bytes that holds it is damaged: use another copy or an older step");
  chunk_index_ = chunk;
}

void ShardReader::read(const StoredTensor& tensor, void* out) const {
  read_part(tensor, 0, tensor.bytes, out);
}

void ShardReader::read_part(const StoredTensor& tensor, int64_t first, int64_t bytes,
                            void* out) const {
  KENTE_CHECK(
      std::find(shard_.tensors.begin(), shard_.tensors.end(), tensor) != shard_.tensors.end(),
      path_ + ": tensor " + tensor.name + " is not in the manifest");
  KENTE_CHECK(first >= 0 && bytes >= 0 && first <= tensor.bytes - bytes,
              path_ + ": a part beyond tensor " + tensor.name);
  char* to = static_cast<char*>(out);
  const int64_t end = tensor.offset + first + bytes;
  // Later chunks are on their way while the first is digested and copied; nothing else is read.
  file_->will_read(tensor.offset + first, bytes);
  for (int64_t at = tensor.offset + first; at < end;) {
    const int64_t chunk = at / kDigestChunk;
    load_chunk(chunk, tensor.name);
    const int64_t part = std::min(end, (chunk + 1) * kDigestChunk) - at;
    std::memcpy(to, chunk_.data() + (at - chunk * kDigestChunk), static_cast<size_t>(part));
    to += part;
    at += part;
  }
}

}  // namespace kente
