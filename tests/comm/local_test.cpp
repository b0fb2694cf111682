#include "comm/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "comm/faulty.h"
#include "csrc/base/errors.h"
#include "tests/comm/communicator_cases.h"

namespace kente {
namespace {

using testing::HasSubstr;

/// Runs body on that many ranks, each a thread, and returns each rank's failure, empty for none.
std::vector<std::string> run_ranks(int ranks, const std::function<void(Communicator&)>& body) {
  std::vector<std::unique_ptr<Communicator>> comms = make_local(ranks);
  std::vector<std::string> failures(comms.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < comms.size(); ++r) {
    threads.emplace_back([&, r] {
      try {
        body(*comms[r]);
      } catch (const std::exception& failure) {
        failures[r] = failure.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

class EveryCommunicator : public testing::TestWithParam<std::tuple<size_t, int>> {};

TEST_P(EveryCommunicator, HoldsTheContract) {
  const auto [number, ranks] = GetParam();
  for (const std::string& failure : run_ranks(ranks, communicator_cases()[number].run))
    EXPECT_EQ(failure, "");
}

INSTANTIATE_TEST_SUITE_P(Local, EveryCommunicator,
                         testing::Combine(testing::Range(size_t{0}, communicator_cases().size()),
                                          testing::Range(1, 5)),
                         [](const auto& info) {
                           return communicator_cases()[std::get<0>(info.param)].name +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(LocalCommunicator, SendsAreNotBuffered) {
  std::vector<std::unique_ptr<Communicator>> comms = make_local(2);
  int64_t sent = 4, got = 0;
  const auto send = comms[0]->isend({&sent, 1, DType::kI64}, 1, 0);
  EXPECT_FALSE(send->done());
  const auto receive = comms[1]->irecv({&got, 1, DType::kI64}, 0, 0);
  EXPECT_TRUE(send->done());
  EXPECT_TRUE(receive->done());
  EXPECT_EQ(got, 4);
}

TEST(LocalCommunicator, FloatsAreAddedInRankOrder) {
  // ((1e8 + 1) - 1e8) is 0 in f32; any other order of three gives 1.
  const std::vector<std::string> failures = run_ranks(3, [](Communicator& comm) {
    float value = std::vector<float>{1e8f, 1.0f, -1e8f}[static_cast<size_t>(comm.rank())];
    comm.all_reduce({&value, 1, DType::kF32}, ReduceOp::kSum)->wait(soon());
    EXPECT_EQ(value, 0.0f);
  });
  EXPECT_THAT(failures, testing::Each(""));
}

TEST(LocalCommunicator, AMessageAfterTheReceiverGaveUpTouchesNothing) {
  std::vector<std::unique_ptr<Communicator>> comms = make_local(2);
  int64_t sent = 4, got = -1;
  EXPECT_THROW(comms[1]->irecv({&got, 1, DType::kI64}, 0, 0)->wait(Deadline::after_seconds(0)),
               PeerError);
  const auto send = comms[0]->isend({&sent, 1, DType::kI64}, 1, 0);
  EXPECT_FALSE(send->done());
  EXPECT_EQ(got, -1);
}

TEST(LocalCommunicator, ACollectiveOneRankGaveUpFailsForTheOthers) {
  const std::vector<std::string> failures = run_ranks(3, [](Communicator& comm) {
    if (comm.rank() == 2) return;
    int64_t value = 1;
    const auto work = comm.all_reduce({&value, 1, DType::kI64}, ReduceOp::kSum);
    work->wait(comm.rank() == 0 ? Deadline::after_seconds(0.05) : soon());
  });
  EXPECT_THAT(failures[0], HasSubstr("no answer within"));
  EXPECT_THAT(failures[1], HasSubstr("rank 0 gave up"));
}

TEST(LocalCommunicator, DisagreeingCollectivesAreNamedOnEveryRank) {
  const std::vector<std::string> failures = run_ranks(2, [](Communicator& comm) {
    int64_t values[2] = {1, 2};
    const auto work = comm.all_reduce({values, comm.rank() + 1, DType::kI64}, ReduceOp::kSum);
    work->wait(soon());
  });
  for (const std::string& failure : failures) {
    EXPECT_THAT(failure, HasSubstr("all_reduce of 1 i64"));
    EXPECT_THAT(failure, HasSubstr("all_reduce of 2 i64"));
  }
}

TEST(LocalCommunicator, AbortEndsEveryWaitOfTheJob) {
  const std::vector<std::string> failures = run_ranks(3, [](Communicator& comm) {
    const auto pair = comm.split(comm.rank() / 2, 0);
    if (comm.rank() == 2) return comm.abort(3);
    int64_t value = 0;
    if (comm.rank() == 0) return pair->irecv({&value, 1, DType::kI64}, 1, 0)->wait(soon());
    comm.barrier(soon());
  });
  EXPECT_THAT(failures[0], HasSubstr("rank 2 aborted the job with status 3"));
  EXPECT_THAT(failures[1], HasSubstr("rank 2 aborted the job with status 3"));
}

TEST(LocalCommunicator, RefusesRanksThatAreNotThere) {
  const auto comm = make_single();
  int64_t value = 0;
  EXPECT_THROW(comm->isend({&value, 1, DType::kI64}, 1, 0), InternalError);
  EXPECT_THROW(comm->irecv({&value, 1, DType::kI64}, -1, 0), InternalError);
}

/// Rank 0 sends two messages over a communicator with the fault; returns what rank 1 got.
std::vector<int64_t> two_messages(const Fault& fault, std::vector<std::string>& failures) {
  std::vector<std::unique_ptr<Communicator>> comms = make_local(2);
  const auto faulty = make_faulty(std::move(comms[0]), fault);
  int64_t values[2] = {10, 11};
  std::vector<int64_t> got = {-1, -1};
  const bool loses = fault.kind != Fault::Kind::kDelay;
  std::vector<std::string> sender_failures;
  std::thread sender([&] {
    for (int64_t& value : values) {
      try {
        faulty->isend({&value, 1, DType::kI64}, 1, 0)->wait(soon());
      } catch (const PeerError& failure) {
        sender_failures.push_back(failure.what());
      }
    }
  });
  try {
    comms[1]->irecv({&got[0], 1, DType::kI64}, 0, 0)->wait(soon());
    comms[1]
        ->irecv({&got[1], 1, DType::kI64}, 0, 0)
        ->wait(loses ? Deadline::after_seconds(0.3) : soon());
  } catch (const PeerError& failure) {
    failures.push_back(failure.what());
  }
  sender.join();
  failures.insert(failures.end(), sender_failures.begin(), sender_failures.end());
  return got;
}

TEST(FaultyCommunicator, DropsExactlyTheGivenOperation) {
  std::vector<std::string> failures;
  EXPECT_EQ(two_messages({.kind = Fault::Kind::kDrop, .operation = 0}, failures),
            (std::vector<int64_t>{11, -1}));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_THAT(failures[0], HasSubstr("no answer"));
}

TEST(FaultyCommunicator, FailsExactlyTheGivenOperation) {
  std::vector<std::string> failures;
  EXPECT_EQ(two_messages({.kind = Fault::Kind::kFail, .operation = 1}, failures),
            (std::vector<int64_t>{10, -1}));
  EXPECT_THAT(failures, testing::Contains(HasSubstr("isend (operation 1")));
}

TEST(FaultyCommunicator, DelaysWithoutLosing) {
  std::vector<std::string> failures;
  const int64_t start = now_ns();
  EXPECT_EQ(two_messages({.kind = Fault::Kind::kDelay, .operation = 1, .seconds = 0.05}, failures),
            (std::vector<int64_t>{10, 11}));
  EXPECT_TRUE(failures.empty());
  EXPECT_GE(now_ns() - start, 50'000'000);
}

TEST(FaultyCommunicator, ADroppedCollectiveEndsByTheDeadline) {
  const auto comm = make_faulty(make_single(), {.kind = Fault::Kind::kDrop, .operation = 0});
  EXPECT_THROW(comm->barrier(Deadline::after_seconds(0.01)), PeerError);
  comm->barrier(soon());
}

}  // namespace
}  // namespace kente
