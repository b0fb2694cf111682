#include <algorithm>
#include <cstring>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/chunk_reader.h"

namespace kente {

ShardReader::ShardReader(FileSystem& files, std::string path, Shard shard)
    : path_(std::move(path)),
      shard_(std::move(shard)),
      chunks_(std::make_unique<ChunkReader>(files, path_, shard_, ChunkReader::From::kCache)) {
  if (chunks_->file().size() != shard_.bytes)
    throw FormatError(path_, -1,
                      std::to_string(chunks_->file().size()) + " bytes, the manifest says " +
                          std::to_string(shard_.bytes) + ": use another copy or an older step");
}

ShardReader::~ShardReader() = default;

void ShardReader::announce(const std::vector<TensorPart>& parts) {
  std::set<int64_t> chunks;
  for (const TensorPart& part : parts) {
    if (part.bytes == 0) continue;
    const int64_t begin = part.tensor.offset + part.first;
    for (int64_t chunk = begin / kDigestChunk; chunk * kDigestChunk < begin + part.bytes; ++chunk)
      chunks.insert(chunk);
  }
  chunks_->announce({chunks.begin(), chunks.end()});
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
  for (int64_t at = tensor.offset + first; at < end;) {
    const Chunk chunk = chunks_->chunk(at / kDigestChunk);
    if (!chunk.intact)
      throw FormatError(path_, chunk.begin,
                        "tensor " + tensor.name + ": the chunk of " + std::to_string(chunk.bytes) +
                            " bytes that holds it is damaged: use another copy or an older step");
    const int64_t part = std::min(end, chunk.begin + chunk.bytes) - at;
    std::memcpy(to, chunk.data + (at - chunk.begin), static_cast<size_t>(part));
    to += part;
    at += part;
  }
}

}  // namespace kente
