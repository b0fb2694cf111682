#include "csrc/train/transfer.h"

#include <algorithm>

namespace kente {
namespace {

constexpr int kStatusTag = 1;
constexpr int kBytesTag = 2;

bool sees_file(const TensorMove& move, const StorageDomains& domains, int rank) {
  return std::binary_search(move.domains.begin(), move.domains.end(),
                            domains.domain_of[static_cast<size_t>(rank)]);
}

/// Who reads it for those that do not see it.
int source_of(const TensorMove& move, const StorageDomains& domains) {
  return domains.leader_of[static_cast<size_t>(move.domains.front())];
}

}  // namespace

std::vector<ReadBytes> reads_of(const TensorMove& move, const StorageDomains& domains, int rank) {
  std::vector<ReadBytes> reads;
  bool for_others = false;
  for (const TensorMove::Receiver& receiver : move.receivers) {
    if (!sees_file(move, domains, receiver.rank)) {
      for_others = source_of(move, domains) == rank;
    } else if (receiver.rank == rank) {
      reads.push_back({.first = receiver.first, .bytes = receiver.bytes});
    }
  }
  if (for_others) reads.push_back({.first = 0, .bytes = move.bytes});
  return reads;
}

void move_tensor(const TensorMove& move, const StorageDomains& domains, Communicator& world,
                 const ReadPart& read, const Deadline& deadline) {
  const int me = world.rank();
  const int source = source_of(move, domains);
  std::vector<char> bytes;  // read once, sent to every receiver
  int64_t good = 0;
  for (const TensorMove::Receiver& receiver : move.receivers) {
    if (sees_file(move, domains, receiver.rank)) {
      if (receiver.rank == me) read(receiver.first, receiver.bytes, move.own);
    } else if (source == me) {
      if (bytes.empty()) {
        bytes.resize(static_cast<size_t>(move.bytes));
        good = read(0, move.bytes, bytes.data()) ? 1 : 0;
      }
      world.isend({.data = &good, .count = 1, .dtype = DType::kI64}, receiver.rank, kStatusTag)
          ->wait(deadline);
      if (good)
        world
            .isend({.data = bytes.data() + receiver.first,
                    .count = receiver.bytes,
                    .dtype = DType::kU8},
                   receiver.rank, kBytesTag)
            ->wait(deadline);
    } else if (receiver.rank == me) {
      int64_t sent = 0;
      world.irecv({.data = &sent, .count = 1, .dtype = DType::kI64}, source, kStatusTag)
          ->wait(deadline);
      if (sent)
        world
            .irecv({.data = move.own, .count = receiver.bytes, .dtype = DType::kU8}, source,
                   kBytesTag)
            ->wait(deadline);
    }
  }
}

}  // namespace kente
