#pragma once

#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/chunk_buffer.h"

namespace kente {

/// Bytes of a shard's file and whether they are those that the manifest speaks of.
struct Chunk {
  const char* data = nullptr;  // valid until the next chunk is asked for
  int64_t begin = 0, bytes = 0;
  bool intact = false;
};

/// Reads a shard chunk by chunk. While one chunk is digested and used the next ones are on their
/// way, if they were announced. Holds 8 MiB, and 16 MiB more while reading ahead. One thread calls
/// it.
class ChunkReader {
 public:
  enum class From {
    kCache,   // other ranks of this machine read the same
    kMedium,  // to learn what a power cut would leave, without a place in the cache
  };
  /// Throws StorageError when the file cannot be opened.
  ChunkReader(FileSystem& files, const std::string& path, const Shard& shard, From from);
  /// Waits for what is on its way.
  ~ChunkReader() = default;
  ChunkReader(const ChunkReader&) = delete;
  ChunkReader& operator=(const ChunkReader&) = delete;

  const ReadableFile& file() const { return *file_; }
  int64_t chunks() const { return static_cast<int64_t>(digests_.size()); }
  /// These chunks, ascending, are asked for in this order from now on.
  void announce(std::vector<int64_t> chunks);
  /// All of them.
  void announce_all();
  /// Throws StorageError when the file cannot be read. The last one asked for is kept.
  Chunk chunk(int64_t index);

 private:
  struct OnItsWay {
    int64_t index = 0;
    std::unique_ptr<ChunkBuffer> buffer;
    std::future<void> read;  // waits when it is destroyed, so before its buffer goes
  };

  int64_t bytes_of(int64_t index) const;
  OnItsWay start(int64_t index);
  void read_ahead();

  const std::unique_ptr<ReadableFile> file_;
  const From from_;
  const int64_t bytes_;
  const std::vector<uint64_t> digests_;
  std::vector<std::unique_ptr<ChunkBuffer>> spare_;
  std::unique_ptr<ChunkBuffer> buffer_;  // what current_ lies in
  Chunk current_;
  int64_t current_index_ = -1;
  std::deque<int64_t> announced_;  // not started
  std::deque<OnItsWay> on_its_way_;
};

}  // namespace kente
