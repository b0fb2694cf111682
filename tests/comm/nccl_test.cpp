// What NCCL alone can do wrong, or could be made to do wrong.
#include "comm/nccl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <span>

#include "csrc/base/errors.h"
#include "tests/comm/gpu_rank.h"
#include "tests/pretend/pretend_nccl.h"

namespace kente {
namespace {

class Nccl : public testing::TestWithParam<uint64_t> {
 protected:
  ~Nccl() override { pretend::fail_nccl(-1, 0); }

  void run(int ranks, const std::function<void(GpuRank&, int)>& body) {
    pretend::PretendNode node(ranks, GetParam());
    on_threads(ranks, [&](Communicator& inner) {
      GpuRank rank(inner, Transport::kNccl);
      body(rank, inner.rank());
    });
  }
};

TEST_P(Nccl, EveryCollectiveMovesWhatItSays) {
  run(3, [](GpuRank& gpu, int rank) {
    const DeviceMemory own = gpu.filled(numbers_of(rank, 1));
    const DeviceMemory all = gpu.device->allocate(3 * 8 * kCount);
    const DeviceMemory part = gpu.device->allocate(8 * kCount);
    gpu.tensors->all_gather(gpu.view(own), gpu.view(all))->wait(soon());
    const std::vector<int64_t> gathered = gpu.read(all);
    for (int from = 0; from < 3; ++from)
      EXPECT_TRUE(std::ranges::equal(std::span(gathered).subspan(from * kCount, kCount),
                                     numbers_of(from, 1)));
    gpu.tensors->reduce_scatter(gpu.view(all), gpu.view(part))->wait(soon());
    std::vector<int64_t> thrice = numbers_of(rank, 1);
    for (int64_t& number : thrice) number *= 3;
    EXPECT_EQ(gpu.read(part), thrice);
    const DeviceMemory most = gpu.filled(numbers_of(rank, 2));
    const DeviceMemory least = gpu.filled(numbers_of(rank, 2));
    gpu.tensors->all_reduce(gpu.view(most), ReduceOp::kMax)->wait(soon());
    gpu.tensors->all_reduce(gpu.view(least), ReduceOp::kMin)->wait(soon());
    EXPECT_EQ(gpu.read(most), numbers_of(2, 2));
    EXPECT_EQ(gpu.read(least), numbers_of(0, 2));
    gpu.tensors->barrier(soon());
  });
}

// The receiver asks for them in another order, as a rank with two kinds of messages may.
TEST_P(Nccl, MessagesMeetTheReceiveOfTheirTag) {
  run(2, [](GpuRank& gpu, int rank) {
    constexpr int kMessages = 4;
    std::vector<DeviceMemory> buffers;
    std::vector<std::unique_ptr<Work>> works;
    for (int i = 0; i < kMessages; ++i) {
      if (rank == 0) {
        buffers.push_back(gpu.filled(numbers_of(0, i)));
        works.push_back(gpu.tensors->isend(gpu.view(buffers.back()), 1, i));
      } else {
        buffers.push_back(gpu.device->allocate(8 * kCount));
        works.push_back(gpu.tensors->irecv(gpu.view(buffers.back()), 0, kMessages - 1 - i));
      }
    }
    for (const auto& work : works) work->wait(soon());
    if (rank == 0) return;
    for (int i = 0; i < kMessages; ++i)
      EXPECT_EQ(gpu.read(buffers[static_cast<size_t>(i)]), numbers_of(0, kMessages - 1 - i)) << i;
  });
}

// Both directions at once, more often than anybody waits.
TEST_P(Nccl, NeighboursSendToEachOtherWithoutStandingStill) {
  run(2, [](GpuRank& gpu, int rank) {
    std::vector<DeviceMemory> sent, got;
    std::vector<std::unique_ptr<Work>> works;
    for (int i = 0; i < 5; ++i) {
      sent.push_back(gpu.filled(numbers_of(rank, i)));
      got.push_back(gpu.device->allocate(8 * kCount));
      works.push_back(gpu.tensors->isend(gpu.view(sent.back()), 1 - rank, 3));
      works.push_back(gpu.tensors->irecv(gpu.view(got.back()), 1 - rank, 3));
    }
    for (const auto& work : works) work->wait(soon());
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(gpu.read(got[static_cast<size_t>(i)]), numbers_of(1 - rank, i)) << i;
  });
}

TEST_P(Nccl, GroupsOfASplitTalkAmongThemselvesInTheOrderOfTheCalls) {
  run(4, [](GpuRank& gpu, int rank) {
    const auto half = gpu.tensors->split(rank % 2, rank);
    const auto none = gpu.tensors->split(rank == 0 ? -1 : 0, rank);
    EXPECT_EQ(none == nullptr, rank == 0);
    std::vector<DeviceMemory> buffers;
    std::vector<std::unique_ptr<Work>> works;
    for (int i = 0; i < 4; ++i) {
      buffers.push_back(gpu.filled(numbers_of(rank, i)));
      Communicator& comm = i % 2 == 0 ? *half : *gpu.tensors;
      works.push_back(comm.all_reduce(gpu.view(buffers.back()), ReduceOp::kSum));
    }
    half->barrier(soon());
    for (const auto& work : works) work->wait(soon());
    for (int i = 0; i < 4; ++i) {
      std::vector<int64_t> want = sum_of(4, i);
      if (i % 2 == 0) {
        want = numbers_of(rank % 2, i);
        for (size_t n = 0; n < want.size(); ++n) want[n] += numbers_of(rank % 2 + 2, i)[n];
      }
      EXPECT_EQ(gpu.read(buffers[static_cast<size_t>(i)]), want) << i;
    }
  });
}

// Rank 1 does not take part. What waits for it in rank 0's device must end with the wait, or the
// device could never be freed.
TEST_P(Nccl, ADeadlineEndsWhatTheDeviceWaitsFor) {
  run(2, [](GpuRank& gpu, int rank) {
    const DeviceMemory warm = gpu.filled(numbers_of(rank, 1));
    gpu.tensors->all_reduce(gpu.view(warm), ReduceOp::kSum)->wait(soon());
    if (rank != 0) return;
    const DeviceMemory buffer = gpu.filled(numbers_of(rank, 1));
    const auto work = gpu.tensors->all_reduce(gpu.view(buffer), ReduceOp::kSum);
    try {
      work->wait(Deadline::after_seconds(0.05));
      ADD_FAILURE() << "rank 1 answered";
    } catch (const PeerError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("NCCL all_reduce: no answer within"));
    }
    EXPECT_EQ(gpu.read(warm), sum_of(2, 1)) << "the device goes on";
    pretend::PretendGpu& device = pretend::PretendNode::current()->gpu(0);
    device.finish();
    EXPECT_TRUE(device.idle()) << "nothing waits there for ever";
    EXPECT_THROW(work->wait(soon()), PeerError);
  });
}

TEST_P(Nccl, WhoNeverStartsIsNamedSo) {
  run(2, [](GpuRank& gpu, int rank) {
    if (rank != 0) return;
    const DeviceMemory buffer = gpu.filled(numbers_of(rank, 1));
    const auto work = gpu.tensors->isend(gpu.view(buffer), 1, 5);
    try {
      work->wait(Deadline::after_seconds(0.05));
      ADD_FAILURE() << "rank 1 answered";
    } catch (const PeerError& error) {
      EXPECT_THAT(error.what(),
                  testing::HasSubstr("NCCL isend, peer rank 1, tag 5, which NCCL has not started"));
    }
  });
}

TEST_P(Nccl, AnErrorOfItsOwnIsAPeersLoss) {
  std::atomic<int> caught{0};
  EXPECT_THROW(run(2,
                   [&](GpuRank& gpu, int rank) {
                     const DeviceMemory buffer = gpu.filled(numbers_of(rank, 1));
                     // Rank 1 may hear of it while it still waits for the first.
                     try {
                       gpu.tensors->all_reduce(gpu.view(buffer), ReduceOp::kSum)->wait(soon());
                       if (rank == 0) pretend::fail_nccl(0, 6);
                       gpu.tensors->all_reduce(gpu.view(buffer), ReduceOp::kSum)->wait(soon());
                     } catch (const PeerError& error) {
                       EXPECT_THAT(error.what(),
                                   testing::HasSubstr(rank == 0 ? "remote process exited"
                                                                : "aborted the job"));
                       ++caught;
                       throw;
                     }
                   }),
               PeerError);
  EXPECT_EQ(caught, 2) << "rank 1 does not wait for its deadline";
}

TEST(NcclVersions, OtherOnesAreRefusedBeforeAnythingWaits) {
  pretend::PretendNode node(2, 1);
  try {
    on_threads(2, [](Communicator& inner) {
      if (inner.rank() == 1) pretend::set_nccl_version(22703);
      GpuRank rank(inner, Transport::kNccl);
    });
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("NCCL of rank 1 is 22703, rank 0's is 22809"));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Nccl, testing::Range(uint64_t{1}, uint64_t{7}));

}  // namespace
}  // namespace kente
