#include "cuda/host/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace kente::cuda::host {
namespace {

constexpr size_t kAlignment = 256;
constexpr uint64_t kSectorBytes = 32;
constexpr int kWideBytes = 16;
constexpr unsigned char kNan = 0xff;

}  // namespace

void DeviceMemory::Free::operator()(std::byte* data) const { std::free(data); }

std::byte* DeviceMemory::allocate(const std::string& name, int64_t bytes) {
  // Nobody's bytes come first, so that what reads past another buffer does not find this one. The
  // end is not rounded up: AddressSanitizer sees the very first byte behind it.
  const size_t block_bytes = kAlignment + static_cast<size_t>(bytes);
  void* block = nullptr;
  if (::posix_memalign(&block, kAlignment, block_bytes) != 0) throw std::bad_alloc();
  std::memset(block, kNan, block_bytes);
  blocks_.emplace_back(static_cast<std::byte*>(block));
  auto buffer = std::make_unique<Buffer>();
  buffer->name = name;
  buffer->data = blocks_.back().get() + kAlignment;
  buffer->bytes = bytes;
  buffers_.push_back(std::move(buffer));
  return buffers_.back()->data;
}

void DeviceMemory::release(const std::byte* data) {
  const auto at = std::find_if(buffers_.begin(), buffers_.end(),
                               [&](const auto& buffer) { return buffer->data == data; });
  if (at == buffers_.end()) throw std::out_of_range("no buffer begins there");
  std::memset((*at)->data, kNan, static_cast<size_t>((*at)->bytes));
  last_ = nullptr;
  buffers_.erase(at);
}

DeviceMemory::Buffer* DeviceMemory::find(const std::byte* at, int64_t bytes) {
  if (last_ != nullptr && last_->holds(at, bytes)) return last_;
  for (const auto& buffer : buffers_)
    if (buffer->holds(at, bytes)) return last_ = buffer.get();
  return nullptr;
}

const DeviceMemory::Buffer& DeviceMemory::buffer(const std::string& name) const {
  for (const auto& buffer : buffers_)
    if (buffer->name == name) return *buffer;
  throw std::out_of_range("no buffer is named " + name);
}

void DeviceMemory::forget_traffic() {
  for (const auto& buffer : buffers_) buffer->loads = buffer->stores = Traffic();
}

DeviceMemory::State DeviceMemory::state() const {
  State state;
  for (const auto& buffer : buffers_) {
    state.bytes.emplace_back(buffer->data, buffer->data + buffer->bytes);
    state.loads.push_back(buffer->loads);
    state.stores.push_back(buffer->stores);
  }
  return state;
}

void DeviceMemory::restore(const State& state) {
  for (size_t i = 0; i < state.bytes.size(); ++i) {
    std::copy(state.bytes[i].begin(), state.bytes[i].end(), buffers_[i]->data);
    buffers_[i]->loads = state.loads[i];
    buffers_[i]->stores = state.stores[i];
  }
}

std::string DeviceMemory::difference(const State& state) const {
  for (size_t i = 0; i < state.bytes.size(); ++i) {
    const auto& bytes = state.bytes[i];
    const auto at = std::mismatch(bytes.begin(), bytes.end(), buffers_[i]->data).first;
    if (at != bytes.end())
      return "byte " + std::to_string(at - bytes.begin()) + " of " + buffers_[i]->name;
  }
  return "";
}

SharedBlock::SharedBlock(size_t bytes, size_t alignment) : bytes_(bytes) {
  if (::posix_memalign(&data_, std::max(alignment, sizeof(void*)), bytes) != 0)
    throw std::bad_alloc();
  // Byte by byte: ThreadSanitizer would see memset as a thread's write.
  for (size_t i = 0; i < bytes; ++i) static_cast<volatile unsigned char*>(data_)[i] = kNan;
}

SharedBlock::~SharedBlock() { std::free(data_); }

void WarpTraffic::count(DeviceMemory::Buffer& buffer, Access access, const std::byte* at, int bytes,
                        uint64_t place, unsigned warp, unsigned occurrence) {
  Traffic& traffic = access == Access::kLoad ? buffer.loads : buffer.stores;
  traffic.bytes += bytes;
  if (bytes == kWideBytes) traffic.wide_bytes += bytes;
  Together& together = together_[{place, warp, occurrence}];
  together.traffic = &traffic;
  together.bytes += bytes;
  const uint64_t sector = reinterpret_cast<uintptr_t>(at) / kSectorBytes;
  if (std::find(together.sectors.begin(), together.sectors.end(), sector) == together.sectors.end())
    together.sectors.push_back(sector);
}

void WarpTraffic::settle() {
  constexpr auto kSector = static_cast<int64_t>(kSectorBytes);
  for (const auto& [key, together] : together_) {
    together.traffic->sectors += static_cast<int64_t>(together.sectors.size());
    together.traffic->least_sectors += (together.bytes + kSector - 1) / kSector;
  }
  together_.clear();
}

}  // namespace kente::cuda::host
