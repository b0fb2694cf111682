#include "csrc/train/transfer.h"

#include <algorithm>

namespace kente {
namespace {

constexpr int kStatusTag = 1;
constexpr int kBytesTag = 2;

}  // namespace

void move_tensor(const TensorMove& move, const StorageDomains& domains, Communicator& world,
                 const ReadPart& read, const Deadline& deadline) {
  const int me = world.rank();
  const int source = domains.leader_of[static_cast<size_t>(move.domains.front())];
  std::vector<char> bytes;  // read once, sent to every receiver
  int64_t good = 0;
  for (const TensorMove::Receiver& receiver : move.receivers) {
    const int domain = domains.domain_of[static_cast<size_t>(receiver.rank)];
    const bool sees_it = std::binary_search(move.domains.begin(), move.domains.end(), domain);
    if (sees_it) {
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
