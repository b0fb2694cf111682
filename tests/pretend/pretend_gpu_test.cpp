#include "tests/pretend/pretend_gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "csrc/base/errors.h"
#include "csrc/device/device.h"
#include "cuda/activation.h"

namespace kente {
namespace {

using pretend::PretendNode;
using testing::HasSubstr;

constexpr int kSeeds = 60;
constexpr int64_t kRows = 4, kWidth = 8;
constexpr int64_t kInBytes = kRows * 2 * kWidth * 4, kOutBytes = kRows * kWidth * 4;
Deadline soon() { return Deadline::after_seconds(20); }

/// Batches that one stream brings, a kernel on another works on, and a third takes back, with one
/// buffer for all of them. Each wait between the streams can be left out.
struct Waits {
  bool until_brought = true, until_computed = true, until_read = true, until_taken = true;
};

float input(int batch, int64_t i) {
  return static_cast<float>(batch + 1) * 0.1f + 0.01f * static_cast<float>(i);
}

/// False: a batch's result is not what it must be.
bool batches_come_out_right(uint64_t seed, const Waits& waits) {
  PretendNode node(1, seed);
  const auto device = make_gpu_device(0);
  const auto copies = device->make_stream(Urgency::kUrgent);
  const auto compute = device->make_stream(Urgency::kUsual);
  const auto brought = device->make_event(), computed = device->make_event();
  const auto taken = device->make_event();
  const DeviceMemory in = device->allocate(kInBytes), out = device->allocate(kOutBytes);
  std::vector<DeviceMemory> from, to;
  for (int batch = 0; batch < 3; ++batch) {
    from.push_back(device->allocate_pinned(kInBytes));
    to.push_back(device->allocate_pinned(kOutBytes));
    auto* values = reinterpret_cast<float*>(from.back().data());
    for (int64_t i = 0; i < kRows * 2 * kWidth; ++i) values[i] = input(batch, i);
    if (waits.until_read) copies->wait_for(*computed);
    copies->copy(in.data(), from.back().data(), kInBytes);
    copies->record(*brought);
    if (waits.until_brought) compute->wait_for(*brought);
    if (waits.until_taken) compute->wait_for(*taken);
    const cuda::Queue queue{.stream = static_cast<cudaStream_t>(compute->native())};
    EXPECT_EQ(cuda::swiglu({.rows = kRows, .width = kWidth, .gate_up = in.data(), .y = out.data()},
                           queue),
              cudaSuccess);
    compute->record(*computed);
    const auto takes = device->make_stream(Urgency::kUsual);
    if (waits.until_computed) takes->wait_for(*computed);
    takes->copy(to.back().data(), out.data(), kOutBytes);
    takes->record(*taken);
  }
  taken->wait(soon(), "the last batch");
  bool right = true;
  for (int batch = 0; batch < 3; ++batch) {
    const auto* values = reinterpret_cast<const float*>(to[static_cast<size_t>(batch)].data());
    for (int64_t i = 0; i < kRows * kWidth; ++i) {
      const int64_t gate = i / kWidth * 2 * kWidth + i % kWidth;
      const float g = input(batch, gate), up = input(batch, gate + kWidth);
      right = right && std::abs(values[i] - g / (1 + std::exp(-g)) * up) < 1e-5f;
    }
  }
  return right;
}

int wrong_of_all_seeds(const Waits& waits) {
  int wrong = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) wrong += !batches_come_out_right(seed, waits);
  return wrong;
}

TEST(PretendGpu, WithAllItsWaitsAPipelineIsRightInEveryOrder) {
  EXPECT_EQ(wrong_of_all_seeds({}), 0);
}

TEST(PretendGpu, AnyWaitThatIsMissingShows) {
  EXPECT_GT(wrong_of_all_seeds({.until_brought = false}), kSeeds / 20);
  EXPECT_GT(wrong_of_all_seeds({.until_computed = false}), kSeeds / 20);
  EXPECT_GT(wrong_of_all_seeds({.until_read = false}), kSeeds / 20);
  EXPECT_GT(wrong_of_all_seeds({.until_taken = false}), kSeeds / 20);
}

TEST(PretendGpu, TheSameSeedGivesTheSameOrder) {
  for (const bool right : {true, false}) {
    uint64_t seed = 0;
    while (batches_come_out_right(seed, {.until_read = false}) != right) ++seed;
    for (int again = 0; again < 3; ++again)
      EXPECT_EQ(batches_come_out_right(seed, {.until_read = false}), right);
  }
}

/// A node of one GPU, which has one stream.
class OneGpu : public testing::Test {
 protected:
  /// What the device says when asked whether it has done everything.
  std::string complaint_of_waiting(double seconds = 5) {
    try {
      stream_->record(*event_);
      event_->wait(Deadline::after_seconds(seconds), "the forward pass");
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "";
  }
  PretendNode node_{1, 2, {.compute_capability = 86, .memory_bytes = 4096}};
  std::unique_ptr<Device> device_ = make_gpu_device(0);
  std::unique_ptr<Stream> stream_ = device_->make_stream(Urgency::kUsual);
  std::unique_ptr<Event> event_ = device_->make_event();
  DeviceMemory memory_ = device_->allocate(1024), pinned_ = device_->allocate_pinned(1024);
};

TEST_F(OneGpu, SaysWhatItIsAndWhatIsFree) {
  EXPECT_EQ(count_gpus(), 1);
  EXPECT_THROW(make_gpu_device(1), UsageError);
  const DeviceFacts facts = device_->facts();
  EXPECT_EQ(facts.name, "Pretended GPU");
  EXPECT_EQ(facts.compute_capability, 86);
  EXPECT_EQ(facts.bus_id, "0000:00:00.0");
  EXPECT_EQ(facts.memory_bytes, 4096);
  EXPECT_EQ(facts.free_bytes, 3072);
  EXPECT_EQ(facts.driver_version, 13000);
  memory_ = {};
  EXPECT_EQ(device_->facts().free_bytes, 4096);
}

TEST_F(OneGpu, RefusesMoreThanItHasAndGoesOn) {
  try {
    device_->allocate(3073);
    FAIL();
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no memory for 3073 bytes: 3072 of 4096 are free"));
  }
  EXPECT_EQ(complaint_of_waiting(), "");
}

TEST_F(OneGpu, ThatFailsIsNamedByTheNextCallAndByEveryOther) {
  node_.gpu(0).fail_at(0, cudaErrorECCUncorrectable);
  stream_->clear(memory_.data(), 1024);
  EXPECT_THAT(complaint_of_waiting(),
              AllOf(HasSubstr("GPU 0: cudaEvent"), HasSubstr(": cudaErrorECCUncorrectable, ")));
  EXPECT_THROW(stream_->clear(memory_.data(), 1024), DeviceError);
  EXPECT_THROW(device_->allocate(1), DeviceError);
}

TEST_F(OneGpu, ThatHangsIsNoticedByTheDeadline) {
  node_.gpu(0).hang_at(0);
  EXPECT_THAT(complaint_of_waiting(0.02), HasSubstr("the forward pass: no answer within 0.02 s"));
}

TEST_F(OneGpu, AKernelThatTouchesFreedMemoryFails) {
  void* const freed = memory_.data();
  memory_ = {};
  const DeviceMemory out = device_->allocate(kOutBytes);
  const cuda::Queue queue{.stream = static_cast<cudaStream_t>(stream_->native())};
  ASSERT_EQ(
      cuda::swiglu({.rows = kRows, .width = kWidth, .gate_up = freed, .y = out.data()}, queue),
      cudaSuccess);
  EXPECT_THAT(complaint_of_waiting(), HasSubstr("cudaErrorLaunchFailure"));
  EXPECT_THAT(node_.gpu(0).complaint(), HasSubstr("swiglu"));
}

TEST(PretendGpu, MemoryIsGivenBackOnlyAfterTheWorkThatUsesIt) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    PretendNode node(1, seed);
    const auto device = make_gpu_device(0);
    const auto stream = device->make_stream(Urgency::kUsual);
    const auto event = device->make_event();
    const DeviceMemory from = device->allocate_pinned(64), to = device->allocate_pinned(64);
    DeviceMemory between = device->allocate(64);
    std::memset(from.data(), 3, 64);
    stream->copy(between.data(), from.data(), 64);
    stream->copy(to.data(), between.data(), 64);
    between = {};
    stream->record(*event);
    event->wait(soon(), "both copies");
    EXPECT_EQ(to.data()[63], std::byte{3}) << seed;
  }
}

TEST_F(OneGpu, TakesNoMemoryThatIsNotPinnedAndNoDefaultStream) {
  std::vector<std::byte> pageable(64);
  EXPECT_THROW(stream_->copy(memory_.data(), pageable.data(), 64), DeviceError);
  EXPECT_THROW(stream_->copy(pageable.data(), memory_.data(), 64), DeviceError);
  EXPECT_THROW(stream_->copy(memory_.data(), pinned_.data() + 1000, 64), DeviceError);
  EXPECT_THROW(stream_->clear(memory_.data() + 1, 1024), DeviceError);
  EXPECT_NE(
      cuda::swiglu({.rows = kRows, .width = kWidth, .gate_up = memory_.data(), .y = memory_.data()},
                   {}),
      cudaSuccess);
}

TEST_F(OneGpu, AWaitIsForTheEventAsItStoodThen) {
  const auto other = device_->make_stream(Urgency::kUsual);
  stream_->record(*event_);
  other->wait_for(*event_);
  // Were the wait for this record, each stream would wait for the other.
  const auto later = device_->make_event();
  other->record(*later);
  stream_->wait_for(*later);
  stream_->record(*event_);
  event_->wait(soon(), "both streams");
}

TEST(PretendNode, ItsGpusBelongToThreads) {
  PretendNode node(2, 5);
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([rank] {
      const auto device = make_gpu_device(rank);
      const auto stream = device->make_stream(Urgency::kUsual);
      const auto event = device->make_event();
      const DeviceMemory memory = device->allocate(kInBytes);
      const DeviceMemory out = device->allocate(kOutBytes);
      for (int round = 0; round < 20; ++round) {
        stream->clear(memory.data(), kInBytes);
        EXPECT_EQ(cuda::swiglu(
                      {.rows = kRows, .width = kWidth, .gate_up = memory.data(), .y = out.data()},
                      {.stream = static_cast<cudaStream_t>(stream->native())}),
                  cudaSuccess);
        stream->record(*event);
        event->wait(soon(), "the round");
      }
      EXPECT_EQ(device->facts().bus_id, "0000:0" + std::to_string(rank) + ":00.0");
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_GE(node.gpu(1).done(), 60);
}

}  // namespace
}  // namespace kente
