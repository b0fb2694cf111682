#include "comm/staged.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>
#include <tuple>
#include <vector>

#include "csrc/base/errors.h"
#include "tests/comm/communicator_cases.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/support/on_threads.h"

namespace kente {
namespace {

class EveryStagedCommunicator : public testing::TestWithParam<std::tuple<size_t, int>> {};

/// On a CPU, whose own memory is the device's.
TEST_P(EveryStagedCommunicator, HoldsTheContract) {
  const auto [number, ranks] = GetParam();
  on_threads(ranks, [&, number = number](Communicator& inner) {
    const auto device = make_cpu_device();
    const auto stream = device->make_stream(Urgency::kUsual);
    const StagedCommunicators staged = make_staged(inner, *device, *stream);
    communicator_cases()[number].run(*staged.tensors);
    communicator_cases()[number].run(*staged.host);
  });
}

INSTANTIATE_TEST_SUITE_P(Cpu, EveryStagedCommunicator,
                         testing::Combine(testing::Range(size_t{0}, communicator_cases().size()),
                                          testing::Range(1, 4)),
                         [](const auto& info) {
                           return communicator_cases()[std::get<0>(info.param)].name +
                                  std::to_string(std::get<1>(info.param));
                         });

constexpr int64_t kCount = 300;

/// A rank with a pretended GPU of its own.
struct GpuRank {
  explicit GpuRank(Communicator& inner)
      : device(make_gpu_device(inner.rank())),
        compute(device->make_stream(Urgency::kUsual)),
        event(device->make_event()),
        both(make_staged(inner, *device, *compute)),
        staged(both.tensors.get()) {}

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
  const StagedCommunicators both;
  Communicator* const staged;
  std::vector<DeviceMemory> pinned;
};

std::vector<int64_t> numbers_of(int rank, int64_t salt) {
  std::vector<int64_t> numbers(kCount);
  std::iota(numbers.begin(), numbers.end(), 1000 * rank + 100000 * salt);
  return numbers;
}

std::vector<int64_t> sum_of(int ranks, int64_t salt) {
  std::vector<int64_t> sum(kCount);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<int64_t> one = numbers_of(rank, salt);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += one[i];
  }
  return sum;
}

class StagedGpus : public testing::TestWithParam<uint64_t> {
 protected:
  void run(int ranks, const std::function<void(GpuRank&, int)>& body) {
    pretend::PretendNode node(ranks, GetParam());
    on_threads(ranks, [&](Communicator& inner) {
      GpuRank rank(inner);
      body(rank, inner.rank());
      EXPECT_EQ(node.gpu(inner.rank()).complaint(), "");
    });
  }
};

// A neighbour's message, a sum, a broadcast and messages again, their memory used again at once.
TEST_P(StagedGpus, OperationsSeeWhatWasQueuedAndAreSeenByWhatIsQueuedNext) {
  run(3, [](GpuRank& gpu, int rank) {
    for (int64_t round = 0; round < 3; ++round) {
      const int next = (rank + 1) % 3, before = (rank + 2) % 3;
      const DeviceMemory own = gpu.filled(numbers_of(rank, round));
      const DeviceMemory other = gpu.filled(numbers_of(rank, round + 10));
      const DeviceMemory from_before = gpu.device->allocate(8 * kCount);
      const DeviceMemory second = gpu.device->allocate(8 * kCount);
      const auto send = gpu.staged->isend(gpu.view(own), next, 1);
      const auto send_other = gpu.staged->isend(gpu.view(other), next, 2);
      // The second arrives in the pinned memory of the first, which may not have left it yet.
      gpu.staged->irecv(gpu.view(from_before), before, 1)->wait(soon());
      gpu.staged->irecv(gpu.view(second), before, 2)->wait(soon());
      send->wait(soon());
      send_other->wait(soon());
      EXPECT_EQ(gpu.read(from_before), numbers_of(before, round));
      EXPECT_EQ(gpu.read(second), numbers_of(before, round + 10));
      const auto sum = gpu.staged->all_reduce(gpu.view(own), ReduceOp::kSum);
      const auto root = gpu.staged->broadcast(gpu.view(from_before), 1);
      sum->wait(soon());
      root->wait(soon());
      EXPECT_EQ(gpu.read(own), sum_of(3, round));
      EXPECT_EQ(gpu.read(from_before), numbers_of(0, round));
    }
  });
}

// The second's input is there first: it must not overtake.
TEST_P(StagedGpus, CollectivesStartInTheOrderOfTheCalls) {
  run(2, [](GpuRank& gpu, int rank) {
    const auto half = gpu.staged->split(0, rank);
    std::vector<DeviceMemory> buffers;
    std::vector<std::unique_ptr<Work>> works;
    for (int64_t salt = 0; salt < 6; ++salt) {
      buffers.push_back(gpu.filled(numbers_of(rank, salt)));
      Communicator& comm = salt % 3 == 2 ? *half : *gpu.staged;
      works.push_back(comm.all_reduce(gpu.view(buffers.back()), ReduceOp::kSum));
      gpu.staged->progress();
    }
    for (size_t i = works.size(); i-- > 0;) works[i]->wait(soon());
    for (int64_t salt = 0; salt < 6; ++salt)
      EXPECT_EQ(gpu.read(buffers[static_cast<size_t>(salt)]), sum_of(2, salt)) << salt;
  });
}

// Each rank first waits for an answer to what it has sent.
TEST_P(StagedGpus, WhoWaitsForOneThingLetsTheOthersGoOn) {
  run(2, [](GpuRank& gpu, int rank) {
    const DeviceMemory question = gpu.filled(numbers_of(rank, 1));
    const DeviceMemory got = gpu.device->allocate(8 * kCount);
    int64_t answer = rank, answered = -1;
    const auto ask = gpu.staged->isend(gpu.view(question), 1 - rank, 1);
    if (rank == 0) {
      gpu.both.host->irecv({&answered, 1, DType::kI64}, 1, 2)->wait(soon());
      EXPECT_EQ(answered, 1);
      gpu.staged->irecv(gpu.view(got), 1, 1)->wait(soon());
    } else {
      gpu.staged->irecv(gpu.view(got), 0, 1)->wait(soon());
      gpu.both.host->isend({&answer, 1, DType::kI64}, 0, 2)->wait(soon());
    }
    ask->wait(soon());
    EXPECT_EQ(gpu.read(got), numbers_of(1 - rank, 1));
  });
}

TEST_P(StagedGpus, ADeadlineNamesTheOperation) {
  run(2, [](GpuRank& gpu, int rank) {
    if (rank != 0) return;
    const DeviceMemory buffer = gpu.device->allocate(8 * kCount);
    try {
      gpu.staged->irecv(gpu.view(buffer), 1, 7)->wait(Deadline::after_seconds(0.02));
      ADD_FAILURE() << "nobody sent";
    } catch (const PeerError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("irecv"));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, StagedGpus, testing::Range(uint64_t{1}, uint64_t{13}));

}  // namespace
}  // namespace kente
