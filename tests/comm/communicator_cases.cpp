#include "tests/comm/communicator_cases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

using testing::HasSubstr;

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, uint8_t>) return DType::kU8;
  if constexpr (std::is_same_v<T, int32_t>) return DType::kI32;
  if constexpr (std::is_same_v<T, int64_t>) return DType::kI64;
  if constexpr (std::is_same_v<T, float>) return DType::kF32;
  if constexpr (std::is_same_v<T, double>) return DType::kF64;
}

template <typename T>
BufferView view(std::vector<T>& values) {
  return {values.data(), static_cast<int64_t>(values.size()), dtype_of<T>()};
}

void messages_go_round(Communicator& comm) {
  const int next = (comm.rank() + 1) % comm.size();
  const int previous = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<int64_t> sent = {comm.rank(), 7}, got = {-1, -1};
  const auto receive = comm.irecv(view(got), previous, 3);
  const auto send = comm.isend(view(sent), next, 3);
  receive->wait(soon());
  send->wait(soon());
  EXPECT_EQ(got, (std::vector<int64_t>{previous, 7}));
}

void messages_of_a_tag_arrive_in_order(Communicator& comm) {
  constexpr int kMessages = 20;
  if (comm.size() < 2) return;
  std::vector<std::vector<int32_t>> values(kMessages);
  std::vector<std::unique_ptr<Work>> works;
  const int last = comm.size() - 1;
  for (int i = 0; i < kMessages; ++i) {
    // Sizes on both sides of any transport's eager limit.
    values[static_cast<size_t>(i)].assign(i % 3 == 0 ? 50'000 : 3, comm.rank() == 0 ? i : -1);
    if (comm.rank() == 0)
      works.push_back(comm.isend(view(values[static_cast<size_t>(i)]), last, 5));
    if (comm.rank() == last)
      works.push_back(comm.irecv(view(values[static_cast<size_t>(i)]), 0, 5));
  }
  for (const auto& work : works) work->wait(soon());
  if (comm.rank() != last) return;
  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(values[static_cast<size_t>(i)].back(), i);
}

void tags_keep_messages_apart(Communicator& comm) {
  if (comm.size() < 2) return;
  std::vector<int64_t> a = {1}, b = {2};
  if (comm.rank() == 0) {
    const auto first = comm.isend(view(a), 1, 10);
    const auto second = comm.isend(view(b), 1, 11);
    first->wait(soon());
    second->wait(soon());
  } else if (comm.rank() == 1) {
    std::vector<int64_t> got_a = {0}, got_b = {0};
    const auto second = comm.irecv(view(got_b), 0, 11);
    const auto first = comm.irecv(view(got_a), 0, 10);
    second->wait(soon());
    first->wait(soon());
    EXPECT_EQ(got_a, a);
    EXPECT_EQ(got_b, b);
  }
}

void big_messages_arrive_whole(Communicator& comm) {
  if (comm.size() < 2 || comm.rank() > 1) return;
  std::vector<int64_t> values((72 << 20) / 8 + 3);
  const auto expected = [](size_t i) { return static_cast<int64_t>(i * 2654435761u); };
  if (comm.rank() == 0) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = expected(i);
    comm.isend(view(values), 1, 1)->wait(soon());
  } else {
    comm.irecv(view(values), 0, 1)->wait(soon());
    size_t wrong = 0;
    for (size_t i = 0; i < values.size(); ++i) wrong += values[i] != expected(i);
    EXPECT_EQ(wrong, 0u);
  }
}

void integers_wrap(Communicator& comm) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  std::vector<int64_t> wide = {kMost, 1, -5};
  std::vector<int32_t> narrow = {std::numeric_limits<int32_t>::max()};
  std::vector<uint8_t> small = {200};
  comm.all_reduce(view(wide), ReduceOp::kSum)->wait(soon());
  comm.all_reduce(view(narrow), ReduceOp::kSum)->wait(soon());
  comm.all_reduce(view(small), ReduceOp::kSum)->wait(soon());
  const auto ranks = static_cast<uint64_t>(comm.size());
  EXPECT_EQ(static_cast<uint64_t>(wide[0]), ranks * static_cast<uint64_t>(kMost));
  EXPECT_EQ(wide[1], comm.size());
  EXPECT_EQ(wide[2], -5 * comm.size());
  EXPECT_EQ(static_cast<uint32_t>(narrow[0]), static_cast<uint32_t>(ranks * 0x7fffffffu));
  EXPECT_EQ(small[0], static_cast<uint8_t>(ranks * 200));
}

void least_and_most_are_signed(Communicator& comm) {
  std::vector<int64_t> least = {comm.rank() - 1, 10 - comm.rank()}, most = least;
  std::vector<float> real = {static_cast<float>(-comm.rank())};
  comm.all_reduce(view(least), ReduceOp::kMin)->wait(soon());
  comm.all_reduce(view(most), ReduceOp::kMax)->wait(soon());
  comm.all_reduce(view(real), ReduceOp::kMin)->wait(soon());
  EXPECT_EQ(least, (std::vector<int64_t>{-1, 11 - comm.size()}));
  EXPECT_EQ(most, (std::vector<int64_t>{comm.size() - 2, 10}));
  EXPECT_EQ(real[0], static_cast<float>(1 - comm.size()));
}

/// More than one piece, and a last one that is not full.
constexpr size_t kFloats = (9 << 20) / 4 + 13;

std::vector<float> own_floats(const Communicator& comm) {
  std::vector<float> values(kFloats);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(
        random_uniform(1, RngUse::kTest, static_cast<uint64_t>(comm.rank()), i) - 0.5);
  return values;
}

void float_sums_repeat_bit_for_bit_on_all_ranks(Communicator& comm) {
  const std::vector<float> own = own_floats(comm);
  std::vector<float> first = own, again = own;
  comm.all_reduce(view(first), ReduceOp::kSum)->wait(soon());
  comm.all_reduce(view(again), ReduceOp::kSum)->wait(soon());
  size_t changed = 0;
  for (size_t i = 0; i < first.size(); ++i)
    changed += std::bit_cast<uint32_t>(first[i]) != std::bit_cast<uint32_t>(again[i]);
  EXPECT_EQ(changed, 0u);
  // Bits, as integers, have one least and one most value exactly if all ranks got the same.
  std::vector<int32_t> least(first.size());
  for (size_t i = 0; i < first.size(); ++i) least[i] = std::bit_cast<int32_t>(first[i]);
  std::vector<int32_t> most = least;
  comm.all_reduce(view(least), ReduceOp::kMin)->wait(soon());
  comm.all_reduce(view(most), ReduceOp::kMax)->wait(soon());
  EXPECT_TRUE(least == most);
  double sum = 0;
  for (int r = 0; r < comm.size(); ++r)
    sum +=
        static_cast<float>(random_uniform(1, RngUse::kTest, static_cast<uint64_t>(r), 12345) - 0.5);
  EXPECT_NEAR(first[12345], sum, 1e-6);  // four additions of numbers below one, in f32
}

void collectives_under_way_together_end_in_any_order(Communicator& comm) {
  std::vector<float> big(kFloats, 1);
  std::vector<int64_t> small = {comm.rank()};
  std::vector<double> other(1000, 0.5);
  const auto a = comm.all_reduce(view(big), ReduceOp::kSum);
  const auto b = comm.all_reduce(view(small), ReduceOp::kMax);
  const auto c = comm.broadcast(view(other), 0);
  // Ranks wait in different orders.
  (comm.rank() % 2 == 0 ? b : a)->wait(soon());
  c->wait(soon());
  (comm.rank() % 2 == 0 ? a : b)->wait(soon());
  EXPECT_EQ(big.front(), static_cast<float>(comm.size()));
  EXPECT_EQ(big.back(), static_cast<float>(comm.size()));
  EXPECT_EQ(small[0], comm.size() - 1);
}

void reduce_scatter_gives_each_rank_its_part(Communicator& comm) {
  constexpr int64_t kPart = 777'777;
  std::vector<int64_t> input(static_cast<size_t>(kPart * comm.size()));
  for (size_t i = 0; i < input.size(); ++i) input[i] = static_cast<int64_t>(i) + comm.rank();
  std::vector<int64_t> output(static_cast<size_t>(kPart), -1);
  comm.reduce_scatter(view(input), view(output))->wait(soon());
  const int64_t ranks = comm.size();
  size_t wrong = 0;
  for (int64_t i = 0; i < kPart; ++i)
    wrong += output[static_cast<size_t>(i)] !=
             ranks * (i + kPart * comm.rank()) + ranks * (ranks - 1) / 2;
  EXPECT_EQ(wrong, 0u);
}

void all_gather_keeps_rank_order(Communicator& comm) {
  constexpr size_t kPart = 1'100'001;
  std::vector<float> input(kPart, static_cast<float>(comm.rank() + 1));
  std::vector<float> output(kPart * static_cast<size_t>(comm.size()), -1);
  comm.all_gather(view(input), view(output))->wait(soon());
  for (size_t r = 0; r < static_cast<size_t>(comm.size()); ++r) {
    EXPECT_EQ(output[r * kPart], static_cast<float>(r + 1));
    EXPECT_EQ(output[(r + 1) * kPart - 1], static_cast<float>(r + 1));
  }
}

void broadcast_works_from_every_root(Communicator& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    std::vector<int32_t> values(2'000'003, comm.rank() == root ? 40 + root : -1);
    comm.broadcast(view(values), root)->wait(soon());
    EXPECT_EQ(values.front(), 40 + root);
    EXPECT_EQ(values.back(), 40 + root);
  }
}

void empty_buffers_are_fine(Communicator& comm) {
  std::vector<float> none;
  comm.all_reduce(view(none), ReduceOp::kSum)->wait(soon());
  comm.broadcast(view(none), 0)->wait(soon());
  comm.barrier(soon());
}

void split_orders_by_key_and_leaves_negative_colors_out(Communicator& comm) {
  // Colors: even and odd ranks; the last rank takes part in none. Keys turn the order round.
  const bool out = comm.rank() == comm.size() - 1;
  const auto part = comm.split(out ? -1 : comm.rank() % 2, -comm.rank());
  ASSERT_EQ(part == nullptr, out);
  if (!part) return;
  std::vector<int> members;
  for (int r = comm.size() - 2; r >= 0; --r)
    if (r % 2 == comm.rank() % 2) members.push_back(r);
  ASSERT_EQ(part->size(), static_cast<int>(members.size()));
  EXPECT_EQ(members[static_cast<size_t>(part->rank())], comm.rank());
  std::vector<int64_t> sum = {comm.rank()};
  part->all_reduce(view(sum), ReduceOp::kSum)->wait(soon());
  EXPECT_EQ(sum[0], std::accumulate(members.begin(), members.end(), int64_t{0}));
}

void missing_peer_is_named_by_the_deadline(Communicator& comm) {
  if (comm.size() >= 2 && comm.rank() == 0) {
    std::vector<float> never = {0};
    const auto work = comm.irecv(view(never), comm.size() - 1, 99);
    const int64_t start = now_ns();
    try {
      work->wait(Deadline::after_seconds(0.2));
      ADD_FAILURE() << "got a message that nobody sent";
    } catch (const PeerError& error) {
      EXPECT_THAT(error.what(), HasSubstr("irecv"));
      EXPECT_THAT(error.what(), HasSubstr("rank " + std::to_string(comm.size() - 1)));
    }
    EXPECT_GE(now_ns() - start, 190'000'000);
  }
  comm.barrier(soon());
}

void message_of_another_size_is_a_bug(Communicator& comm) {
  if (comm.size() >= 2 && comm.rank() == 0) {
    std::vector<float> three(3, 1);
    try {
      comm.isend(view(three), 1, 8)->wait(soon());
    } catch (const InternalError&) {  // a transport without buffers tells both sides
    }
  } else if (comm.rank() == 1) {
    std::vector<float> four(4, 0);
    EXPECT_THROW(comm.irecv(view(four), 0, 8)->wait(soon()), InternalError);
  }
  comm.barrier(soon());
}

void sums_of_half_precision_are_refused(Communicator& comm) {
  uint16_t value = 0;
  for (const DType dtype : {DType::kF16, DType::kBF16})
    EXPECT_THROW(comm.all_reduce({&value, 1, dtype}, ReduceOp::kSum), InternalError);
  comm.barrier(soon());
}

}  // namespace

Deadline soon() { return Deadline::after_seconds(30); }

const std::vector<CommunicatorCase>& communicator_cases() {
  static const std::vector<CommunicatorCase> cases = {
      {"MessagesGoRound", messages_go_round},
      {"MessagesOfATagArriveInOrder", messages_of_a_tag_arrive_in_order},
      {"TagsKeepMessagesApart", tags_keep_messages_apart},
      {"BigMessagesArriveWhole", big_messages_arrive_whole},
      {"IntegersWrap", integers_wrap},
      {"LeastAndMostAreSigned", least_and_most_are_signed},
      {"FloatSumsRepeatBitForBitOnAllRanks", float_sums_repeat_bit_for_bit_on_all_ranks},
      {"CollectivesUnderWayTogetherEndInAnyOrder", collectives_under_way_together_end_in_any_order},
      {"ReduceScatterGivesEachRankItsPart", reduce_scatter_gives_each_rank_its_part},
      {"AllGatherKeepsRankOrder", all_gather_keeps_rank_order},
      {"BroadcastWorksFromEveryRoot", broadcast_works_from_every_root},
      {"EmptyBuffersAreFine", empty_buffers_are_fine},
      {"SplitOrdersByKeyAndLeavesNegativeColorsOut",
       split_orders_by_key_and_leaves_negative_colors_out},
      {"MissingPeerIsNamedByTheDeadline", missing_peer_is_named_by_the_deadline},
      {"MessageOfAnotherSizeIsABug", message_of_another_size_is_a_bug},
      {"SumsOfHalfPrecisionAreRefused", sums_of_half_precision_are_refused},
  };
  return cases;
}

}  // namespace kente
