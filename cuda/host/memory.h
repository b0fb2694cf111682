#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace kente::cuda::host {

enum class Access { kLoad, kStore };

/// What one buffer's loads, or its stores, came to. Caches are not modelled: every access counts.
struct Traffic {
  int64_t bytes = 0;
  int64_t wide_bytes = 0;     // of those, by accesses of 16 bytes
  int64_t sectors = 0;        // of 32 bytes, distinct within one warp's access
  int64_t least_sectors = 0;  // what the same bytes would take side by side
};

/// Memory of the pretended GPU: named buffers of exactly the size asked for, aligned to 256 bytes
/// like those of cudaMalloc, filled with bytes that are NaN in every floating type.
class DeviceMemory {
 public:
  struct Buffer {
    std::string name;
    std::byte* data = nullptr;
    int64_t bytes = 0;
    Traffic loads, stores;

    bool holds(const std::byte* at, int64_t count) const {
      return at >= data && at + count <= data + bytes;
    }
  };

  std::byte* allocate(const std::string& name, int64_t bytes);
  /// Its bytes are NaN again and belong to no buffer: whoever still touches them is noticed.
  void release(const std::byte* data);
  /// The buffer that holds these bytes, all of them; null: none does.
  Buffer* find(const std::byte* at, int64_t bytes);
  /// By the name it was allocated with; throws std::out_of_range.
  const Buffer& buffer(const std::string& name) const;
  const std::vector<std::unique_ptr<Buffer>>& buffers() const { return buffers_; }
  void forget_traffic();

  /// Everything the buffers hold, and what was counted.
  struct State {
    std::vector<std::vector<std::byte>> bytes;
    std::vector<Traffic> loads, stores;
  };
  State state() const;
  /// Back to that; the buffers are the same as then.
  void restore(const State& state);
  /// Says which buffer has other bytes, and where; empty: none.
  std::string difference(const State& state) const;

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::unique_ptr<std::byte, Free>> blocks_;
  Buffer* last_ = nullptr;  // accesses come in runs
};

/// Shared memory of a block of threads: exactly so many bytes, NaN until they are written.
class SharedBlock {
 public:
  SharedBlock(size_t bytes, size_t alignment);
  ~SharedBlock();
  SharedBlock(SharedBlock&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  SharedBlock& operator=(SharedBlock&&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

/// Counts the traffic of one block of threads: 32-byte sectors are counted once for each access of
/// a warp, that is, for the n-th time that its lanes come to one place in the source.
class WarpTraffic {
 public:
  /// occurrence: how often that lane has been at that place before.
  void count(DeviceMemory::Buffer& buffer, Access access, const std::byte* at, int bytes,
             uint64_t place, unsigned warp, unsigned occurrence);
  /// The block has ended.
  void settle();

 private:
  struct Together {
    Traffic* traffic = nullptr;
    int64_t bytes = 0;
    std::vector<uint64_t> sectors;
  };
  std::map<std::array<uint64_t, 3>, Together> together_;
};

}  // namespace kente::cuda::host
