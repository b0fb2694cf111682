#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "comm/nccl.h"
#include "comm/staged.h"
#include "csrc/device/device.h"
#include "tests/comm/communicator_cases.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/on_threads.h"

namespace kente {

/// How tensors travel.
enum class Transport { kStaged, kNccl };

inline constexpr int64_t kCount = 300;

/// A rank with a pretended GPU of its own.
struct GpuRank {
  GpuRank(Communicator& inner, Transport transport)
      : device(make_gpu_device(inner.rank())),
        compute(device->make_stream(Urgency::kUsual)),
        event(device->make_event()),
        both(transport == Transport::kNccl ? make_nccl(inner, *device, *compute, soon())
                                           : make_staged(inner, *device, *compute)),
        tensors(both.tensors.get()) {}

  /// Device memory that compute fills with these numbers, later.
  DeviceMemory filled(const std::vector<int64_t>& numbers) {
    const auto bytes = static_cast<int64_t>(8 * numbers.size());
    pinned.push_back(device->allocate_pinned(bytes));
    std::memcpy(pinned.back().data(), numbers.data(), static_cast<size_t>(bytes));
    DeviceMemory memory = device->allocate(bytes);
    compute->copy(memory.data(), pinned.back().data(), bytes);
    return memory;
  }
  /// What compute finds there behind all that is queued.
  std::vector<int64_t> read(const DeviceMemory& memory) {
    const DeviceMemory host = device->allocate_pinned(memory.bytes());
    compute->copy(host.data(), memory.data(), memory.bytes());
    compute->record(*event);
    event->wait(soon(), "the numbers");
    std::vector<int64_t> numbers(static_cast<size_t>(memory.bytes() / 8));
    std::memcpy(numbers.data(), host.data(), static_cast<size_t>(memory.bytes()));
    return numbers;
  }
  static BufferView view(const DeviceMemory& memory) {
    return {.data = memory.data(), .count = memory.bytes() / 8, .dtype = DType::kI64};
  }

  const std::unique_ptr<Device> device;
  const std::unique_ptr<Stream> compute;
  const std::unique_ptr<Event> event;
  const DeviceCommunicators both;
  Communicator* const tensors;
  std::vector<DeviceMemory> pinned;
};

inline std::vector<int64_t> numbers_of(int rank, int64_t salt) {
  std::vector<int64_t> numbers(kCount);
  std::iota(numbers.begin(), numbers.end(), 1000 * rank + 100000 * salt);
  return numbers;
}

inline std::vector<int64_t> sum_of(int ranks, int64_t salt) {
  std::vector<int64_t> sum(kCount);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<int64_t> one = numbers_of(rank, salt);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
  }
  return sum;
}

}  // namespace kente
