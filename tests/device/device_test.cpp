#include "csrc/device/device.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "csrc/base/errors.h"

namespace kente {
namespace {

TEST(CpuDevice, HasDoneItsWorkWhenACallReturns) {
  const auto device = make_cpu_device();
  const auto stream = device->make_stream(Urgency::kUsual);
  const auto event = device->make_event();
  const DeviceMemory from = device->allocate_pinned(64), to = device->allocate(64);
  std::memset(from.data(), 7, 64);
  stream->copy(to.data(), from.data(), 64);
  EXPECT_EQ(std::memcmp(to.data(), from.data(), 64), 0);
  stream->clear(to.data(), 32);
  EXPECT_EQ(to.data()[31], std::byte{0});
  EXPECT_EQ(to.data()[32], std::byte{7});
  stream->record(*event);
  stream->wait_for(*event);
  event->wait(Deadline::after_seconds(0), "nothing");
  EXPECT_EQ(stream->native(), nullptr);
}

TEST(CpuDevice, ItsMemoryIsAlignedAndEndsWhereItWasAskedToEnd) {
  const auto device = make_cpu_device();
  for (const int64_t bytes : {1, 255, 257}) {
    const DeviceMemory memory = device->allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 256, 0u);
    EXPECT_EQ(memory.bytes(), bytes);
  }
}

TEST(CpuDevice, SaysThatItIsNoGpu) {
  const DeviceFacts facts = make_cpu_device()->facts();
  EXPECT_EQ(facts.name, "CPU");
  EXPECT_EQ(facts.compute_capability, 0);
}

TEST(GpuDevice, ThatIsNotThereIsTheUsersAffair) {
  EXPECT_THROW(make_gpu_device(count_gpus()), UsageError);
  EXPECT_THROW(make_gpu_device(-1), UsageError);
}

}  // namespace
}  // namespace kente
