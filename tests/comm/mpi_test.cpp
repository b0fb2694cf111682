// Every rank of an mpirun runs all tests, in the same order. The first failure ends the job: the
// ranks would otherwise wait for each other.

#include "comm/mpi.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

#include "tests/comm/communicator_cases.h"

namespace kente {
namespace {

Communicator* world = nullptr;  // gtest makes its tests without arguments
MpiSession* session = nullptr;

class EveryCommunicator : public testing::TestWithParam<size_t> {};

TEST_P(EveryCommunicator, HoldsTheContract) { communicator_cases()[GetParam()].run(*world); }

INSTANTIATE_TEST_SUITE_P(Mpi, EveryCommunicator,
                         testing::Range(size_t{0}, communicator_cases().size()),
                         [](const auto& info) { return communicator_cases()[info.param].name; });

TEST(MpiCommunicator, ProgressAloneFinishesALargeAllReduce) {
  std::vector<float> values((24 << 20) / 4, 1);
  volatile float& last = values.back();
  const auto work = world->all_reduce(
      {values.data(), static_cast<int64_t>(values.size()), DType::kF32}, ReduceOp::kSum);
  const Deadline deadline = soon();
  while (last != static_cast<float>(world->size()) && !deadline.passed()) world->progress();
  EXPECT_EQ(last, static_cast<float>(world->size()));
  work->wait(soon());
}

TEST(MpiCommunicator, PiecesOfAnySizeGiveTheSameIntegers) {
  const auto pieces = session->world(1000);
  std::vector<int64_t> values(12'345, world->rank() + 1), other = values;
  pieces->all_reduce({values.data(), 12'345, DType::kI64}, ReduceOp::kSum)->wait(soon());
  world->all_reduce({other.data(), 12'345, DType::kI64}, ReduceOp::kSum)->wait(soon());
  EXPECT_EQ(values, other);
}

TEST(MpiSession, KnowsTheRanksOfItsNode) {
  EXPECT_EQ(session->local_size(), world->size());  // one machine
  EXPECT_EQ(session->local_rank(), world->rank());
  EXPECT_FALSE(session->host_name().empty());
}

/// Prints failures with the rank and ends the job.
class FailFast : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", world->rank(), result.file_name(),
                 result.line_number(), result.message());
    world->abort(1);
  }
};

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  kente::MpiSession session(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const auto world = session.world();
  kente::session = &session;
  kente::world = world.get();
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world->rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new kente::FailFast);
  return RUN_ALL_TESTS();
}
