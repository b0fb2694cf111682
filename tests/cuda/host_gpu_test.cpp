#include "cuda/host/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/cuda/seeded_machine.h"

namespace kente::cuda {
namespace {

using host::Gpu;
using host::TurnOrder;
using testing::AllOf;
using testing::HasSubstr;

TEST(HostGpu, ThreadsShareMemoryBetweenBarriers) {
  Machine machine;
  ASSERT_EQ(machine.run(reverse_twice<Barriers::kAll>), cudaSuccess);
  for (unsigned i = 0; i < kThreads; ++i) EXPECT_EQ(machine.out[i], static_cast<float>(i));
  EXPECT_TRUE(agrees(reverse_twice<Barriers::kAll>));
  EXPECT_TRUE(agrees(reverse_warps<WarpBarrier::kThere>));
}

void last_block_wins(Global<const float>, Global<float> out) {
  if (threadIdx.x < kThreads) out.store_one(threadIdx.x, static_cast<float>(blockIdx.x));
}

TEST(HostGpu, BlocksTakeTurnsInNoParticularOrder) {
  EXPECT_FALSE(agrees(last_block_wins, 5));
  EXPECT_THAT(Machine(TurnOrder::kEvery).complaint(reverse_twice<Barriers::kAll>), "nothing");
  Machine every(TurnOrder::kEvery);
  try {
    EXPECT_EQ(every.run(last_block_wins, 5), cudaSuccess);
    ADD_FAILURE() << "other bits were not seen";
  } catch (const host::KernelError& error) {
    EXPECT_THAT(error.what(), HasSubstr("leave other bits in"));
  }
}

void nobody_wrote(Global<const float>, Global<float> out) {
  KENTE_SHARED(float, held, kThreads);
  out.store_one(threadIdx.x, held[threadIdx.x]);
}

TEST(HostGpu, SharedMemoryIsNotANumberUntilItIsWritten) {
  Machine machine;
  ASSERT_EQ(machine.run(nobody_wrote), cudaSuccess);
  for (const float value : machine.results()) EXPECT_TRUE(std::isnan(value));
}

void some_leave(Global<const float>, Global<float>) {
  if (threadIdx.x == 7) return;
  __syncthreads();
}

void two_barriers(Global<const float>, Global<float>) {
  if (threadIdx.x < 32) __syncthreads();
  if (threadIdx.x >= 32) __syncthreads();
}

TEST(HostGpu, ABarrierThatNotAllReachIsSaid) {
  EXPECT_THAT(Machine(TurnOrder::kReversed).complaint(some_leave),
              HasSubstr("ended while others wait"));
  Machine machine;
  EXPECT_THAT(machine.complaint(some_leave),
              AllOf(HasSubstr("kernel: block (0,0,0) thread (7,0,0) ended while others wait"),
                    HasSubstr("host_gpu_test.cpp:")));
  EXPECT_THAT(machine.complaint(two_barriers), HasSubstr("while others wait at"));
  ASSERT_EQ(machine.run(reverse_twice<Barriers::kAll>), cudaSuccess) << "it goes on after a fault";
}

void votes_and_shuffles(Global<const float>, Global<float> out) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned even = __ballot_sync(kAllLanes, lane % 2 == 0);
  const int any = __any_sync(kAllLanes, lane == 9), all = __all_sync(kAllLanes, lane != 9);
  const unsigned below = __shfl_up_sync(kAllLanes, lane, 3),
                 fifth = __shfl_sync(kAllLanes, lane, 5);
  const bool right = even == 0x55555555u && any == 1 && all == 0 && fifth == 5 &&
                     below == (lane < 3 ? lane : lane - 3);
  out.store_one(threadIdx.x, right ? 1.0f : 0.0f);
}

TEST(HostGpu, LanesVoteAndShuffle) {
  Machine machine;
  ASSERT_EQ(machine.run(votes_and_shuffles), cudaSuccess);
  EXPECT_EQ(machine.results(), std::vector<float>(kThreads, 1.0f));
}

void half_a_mask(Global<const float>, Global<float> out) {
  const float sum = __shfl_xor_sync(0x0000ffffu, 1.0f, 1);  // lanes 16 to 31 call it too
  out.store_one(threadIdx.x, sum);
}

void two_masks(Global<const float>, Global<float> out) {
  const unsigned mask = threadIdx.x % 32 < 16 ? 0xffffffffu : 0xffff0000u;
  out.store_one(threadIdx.x, __shfl_xor_sync(mask, 1.0f, 1));
}

void a_lane_has_left(Global<const float>, Global<float> out) {
  if (threadIdx.x == 3) return;
  out.store_one(threadIdx.x, warp_sum(1.0f));
}

void from_outside_the_mask(Global<const float>, Global<float> out) {
  if (threadIdx.x % 32 >= 16) return;
  out.store_one(threadIdx.x, __shfl_xor_sync(0x0000ffffu, 1.0f, 16));
}

TEST(HostGpu, AWrongShuffleMaskIsSaid) {
  EXPECT_THAT(Machine(TurnOrder::kReversed).complaint(a_lane_has_left),
              HasSubstr("while its warp waits for it"));
  Machine machine;
  EXPECT_THAT(machine.complaint(half_a_mask), HasSubstr("is not in the mask it gave"));
  EXPECT_THAT(machine.complaint(two_masks), HasSubstr("gave another mask"));
  EXPECT_THAT(machine.complaint(a_lane_has_left), HasSubstr("while its warp waits for it"));
  ASSERT_EQ(machine.run(from_outside_the_mask), cudaSuccess);
  EXPECT_TRUE(std::isnan(machine.out[0])) << "what a lane outside the mask holds is unknown";
}

void waits_for_no_one(Global<const float>, Global<float>) {
  if (threadIdx.x % 32 == 16)
    __syncthreads();
  else
    __syncwarp();
}

TEST(HostGpu, WaitingForEverIsSaid) {
  Machine machine;
  EXPECT_THAT(machine.complaint(waits_for_no_one), HasSubstr("waits for ever at"));
}

void one_too_far(Global<const float> in, Global<float> out) {
  out.store_one(threadIdx.x, in.load_one(threadIdx.x + 1));
}

void misaligned(Global<const float> in, Global<float> out) {
  if (threadIdx.x == 0) out.store_one(0, in.load<16>(1)[0]);
}

TEST(HostGpu, AnAccessOutsideABufferOrMisalignedIsSaid) {
  Machine machine;
  EXPECT_THAT(machine.complaint(one_too_far),
              AllOf(HasSubstr("thread (63,0,0)"), HasSubstr("outside every buffer")));
  EXPECT_THAT(machine.complaint(misaligned), HasSubstr("misaligned 16-byte load"));
}

void wide(Global<const float> in, Global<float> out) {
  const int64_t first = int64_t{4} * threadIdx.x;
  if (threadIdx.x < 16) out.store<16>(first, in.load<16>(first));
}

void twice(Global<const float> in, Global<float> out) {
  out.store_one(threadIdx.x, in.load_one(threadIdx.x) + in.load_one(0));
}

void far_apart(Global<const float> in, Global<float> out) {
  if (threadIdx.x < 8) out.store_one(int64_t{8} * threadIdx.x, in.load_one(threadIdx.x));
}

TEST(HostGpu, CountsBytesWidthsAndSectors) {
  constexpr int64_t kBytes = int64_t{kThreads} * 4;
  Machine machine;
  const host::DeviceMemory::Buffer &in = machine.gpu.memory().buffer("in"),
                                   &out = machine.gpu.memory().buffer("out");
  ASSERT_EQ(machine.run(wide), cudaSuccess);
  EXPECT_EQ(in.loads.bytes, kBytes);
  EXPECT_EQ(in.loads.wide_bytes, kBytes);
  EXPECT_EQ(in.loads.sectors, kBytes / 32);
  EXPECT_EQ(out.stores.least_sectors, kBytes / 32);
  machine.gpu.memory().forget_traffic();
  ASSERT_EQ(machine.run(twice), cudaSuccess);
  EXPECT_EQ(in.loads.bytes, 2 * kBytes) << "caches are not modelled";
  EXPECT_EQ(in.loads.wide_bytes, 0);
  machine.gpu.memory().forget_traffic();
  ASSERT_EQ(machine.run(far_apart), cudaSuccess);
  EXPECT_EQ(in.loads.sectors, 1);
  EXPECT_EQ(out.stores.sectors, 8);
  EXPECT_EQ(out.stores.least_sectors, 1);
}

TEST(HostGpu, TakesNoShapeThatAGpuWouldNot) {
  Machine machine;
  const auto shape = [&](dim3 grid, dim3 block, size_t bytes) {
    return KENTE_LAUNCH(last_block_wins, grid, block, bytes, nullptr,
                        Global<const float>(machine.in), Global<float>(machine.out));
  };
  EXPECT_EQ(shape(dim3(1), dim3(1024), 0), cudaSuccess);
  EXPECT_EQ(shape(dim3(1), dim3(1025), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(shape(dim3(0), dim3(32), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(shape(dim3(1, 65536), dim3(32), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(shape(dim3(1), dim3(32), 300 << 10), cudaErrorInvalidConfiguration);
}

TEST(HostGpu, WithoutOneNothingIsLaunched) {
  EXPECT_EQ(Gpu::current(), nullptr);
  EXPECT_EQ(KENTE_LAUNCH(last_block_wins, dim3(1), dim3(1), 0, nullptr, Global<const float>(),
                         Global<float>()),
            cudaErrorNoDevice);
}

}  // namespace
}  // namespace kente::cuda
