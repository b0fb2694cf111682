#include "csrc/ckpt/chunk_reader.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "csrc/base/hash.h"

namespace kente {
namespace {

/// One request at a time leaves disks idle between two of them.
constexpr size_t kAhead = 2;

}  // namespace

ChunkReader::ChunkReader(FileSystem& files, const std::string& path, const Shard& shard, From from)
    : file_(files.open(path)), from_(from), bytes_(shard.bytes), digests_(shard.chunk_xxh3) {}

int64_t ChunkReader::bytes_of(int64_t index) const {
  return std::min(kDigestChunk, bytes_ - index * kDigestChunk);
}

ChunkReader::OnItsWay ChunkReader::start(int64_t index) {
  OnItsWay chunk{.index = index, .buffer = nullptr, .read = {}};
  if (spare_.empty()) {
    chunk.buffer = std::make_unique<ChunkBuffer>();
  } else {
    chunk.buffer = std::move(spare_.back());
    spare_.pop_back();
  }
  chunk.read = std::async(std::launch::async, [this, index, to = chunk.buffer->data()] {
    const int64_t begin = index * kDigestChunk, bytes = bytes_of(index);
    if (from_ == From::kMedium) return file_->read_from_medium(begin, to, bytes);
    file_->will_read(begin, bytes);
    file_->read_at(begin, to, bytes);
  });
  return chunk;
}

void ChunkReader::announce(std::vector<int64_t> chunks) {
  announced_.assign(chunks.begin(), chunks.end());
  read_ahead();
}

void ChunkReader::announce_all() {
  std::vector<int64_t> all(digests_.size());
  std::iota(all.begin(), all.end(), int64_t{0});
  announce(std::move(all));
}

void ChunkReader::read_ahead() {
  while (on_its_way_.size() < kAhead && !announced_.empty()) {
    on_its_way_.push_back(start(announced_.front()));
    announced_.pop_front();
  }
}

Chunk ChunkReader::chunk(int64_t index) {
  if (index == current_index_) return current_;
  current_index_ = -1;
  while (!on_its_way_.empty() && on_its_way_.front().index < index) {
    on_its_way_.front().read.wait();
    spare_.push_back(std::move(on_its_way_.front().buffer));
    on_its_way_.pop_front();
  }
  while (!announced_.empty() && announced_.front() <= index) announced_.pop_front();
  if (buffer_) spare_.push_back(std::move(buffer_));
  OnItsWay wanted;
  if (!on_its_way_.empty() && on_its_way_.front().index == index) {
    wanted = std::move(on_its_way_.front());
    on_its_way_.pop_front();
  } else {
    wanted = start(index);
  }
  read_ahead();
  buffer_ = std::move(wanted.buffer);
  wanted.read.get();
  const int64_t bytes = bytes_of(index);
  current_ = {.data = buffer_->data(),
              .begin = index * kDigestChunk,
              .bytes = bytes,
              .intact = xxh3_64(buffer_->data(), static_cast<size_t>(bytes)) ==
                        digests_.at(static_cast<size_t>(index))};
  current_index_ = index;
  return current_;
}

}  // namespace kente
