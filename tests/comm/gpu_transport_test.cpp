// What tensors of pretended GPUs travel by: through the host, or by a pretended NCCL.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <tuple>

#include "csrc/base/errors.h"
#include "tests/comm/gpu_rank.h"

namespace kente {
namespace {

class GpusThatTalk : public testing::TestWithParam<std::tuple<uint64_t, Transport>> {
 protected:
  void run(int ranks, const std::function<void(GpuRank&, int)>& body) {
    const auto [seed, transport] = GetParam();
    pretend::PretendNode node(ranks, seed);
    on_threads(ranks, [&, transport = transport](Communicator& inner) {
      GpuRank rank(inner, transport);
      body(rank, inner.rank());
      EXPECT_EQ(node.gpu(inner.rank()).complaint(), "");
    });
  }
};

// A neighbour's message, a sum, a broadcast and messages again, their memory used again at once.
TEST_P(GpusThatTalk, OperationsSeeWhatWasQueuedAndAreSeenByWhatIsQueuedNext) {
  run(3, [](GpuRank& gpu, int rank) {
    for (int64_t round = 0; round < 3; ++round) {
      const int next = (rank + 1) % 3, before = (rank + 2) % 3;
      const DeviceMemory own = gpu.filled(numbers_of(rank, round));
      const DeviceMemory other = gpu.filled(numbers_of(rank, round + 10));
      const DeviceMemory from_before = gpu.device->allocate(8 * kCount);
      const DeviceMemory second = gpu.device->allocate(8 * kCount);
      const auto send = gpu.tensors->isend(gpu.view(own), next, 1);
      const auto send_other = gpu.tensors->isend(gpu.view(other), next, 2);
      // The second arrives in the pinned memory of the first, which may not have left it yet.
      gpu.tensors->irecv(gpu.view(from_before), before, 1)->wait(soon());
      gpu.tensors->irecv(gpu.view(second), before, 2)->wait(soon());
      send->wait(soon());
      send_other->wait(soon());
      EXPECT_EQ(gpu.read(from_before), numbers_of(before, round));
      EXPECT_EQ(gpu.read(second), numbers_of(before, round + 10));
      const auto sum = gpu.tensors->all_reduce(gpu.view(own), ReduceOp::kSum);
      const auto root = gpu.tensors->broadcast(gpu.view(from_before), 1);
      sum->wait(soon());
      root->wait(soon());
      EXPECT_EQ(gpu.read(own), sum_of(3, round));
      EXPECT_EQ(gpu.read(from_before), numbers_of(0, round));
    }
  });
}

// The second's input is there first: it must not overtake.
TEST_P(GpusThatTalk, CollectivesStartInTheOrderOfTheCalls) {
  run(2, [](GpuRank& gpu, int rank) {
    const auto half = gpu.tensors->split(0, rank);
    std::vector<DeviceMemory> buffers;
    std::vector<std::unique_ptr<Work>> works;
    for (int64_t salt = 0; salt < 6; ++salt) {
      buffers.push_back(gpu.filled(numbers_of(rank, salt)));
      Communicator& comm = salt % 3 == 2 ? *half : *gpu.tensors;
      works.push_back(comm.all_reduce(gpu.view(buffers.back()), ReduceOp::kSum));
      gpu.tensors->progress();
    }
    for (size_t i = works.size(); i-- > 0;) works[i]->wait(soon());
    for (int64_t salt = 0; salt < 6; ++salt)
      EXPECT_EQ(gpu.read(buffers[static_cast<size_t>(salt)]), sum_of(2, salt)) << salt;
  });
}

// Each rank first waits for an answer to what it has sent.
TEST_P(GpusThatTalk, WhoWaitsForOneThingLetsTheOthersGoOn) {
  run(2, [](GpuRank& gpu, int rank) {
    const DeviceMemory question = gpu.filled(numbers_of(rank, 1));
    const DeviceMemory got = gpu.device->allocate(8 * kCount);
    int64_t answer = rank, answered = -1;
    const auto ask = gpu.tensors->isend(gpu.view(question), 1 - rank, 1);
    if (rank == 0) {
      gpu.both.host->irecv({&answered, 1, DType::kI64}, 1, 2)->wait(soon());
      EXPECT_EQ(answered, 1);
      gpu.tensors->irecv(gpu.view(got), 1, 1)->wait(soon());
    } else {
      gpu.tensors->irecv(gpu.view(got), 0, 1)->wait(soon());
      gpu.both.host->isend({&answer, 1, DType::kI64}, 0, 2)->wait(soon());
    }
    ask->wait(soon());
    EXPECT_EQ(gpu.read(got), numbers_of(1 - rank, 1));
  });
}

TEST_P(GpusThatTalk, ADeadlineNamesTheOperation) {
  run(2, [](GpuRank& gpu, int rank) {
    if (rank != 0) return;
    const DeviceMemory buffer = gpu.device->allocate(8 * kCount);
    try {
      gpu.tensors->irecv(gpu.view(buffer), 1, 7)->wait(Deadline::after_seconds(0.02));
      ADD_FAILURE() << "nobody sent";
    } catch (const PeerError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("irecv"));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, GpusThatTalk,
                         testing::Combine(testing::Range(uint64_t{1}, uint64_t{13}),
                                          testing::Values(Transport::kStaged, Transport::kNccl)),
                         [](const auto& info) {
                           return std::string(std::get<1>(info.param) == Transport::kNccl
                                                  ? "Nccl"
                                                  : "Staged") +
                                  std::to_string(std::get<0>(info.param));
                         });

}  // namespace
}  // namespace kente
