#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// One stored tensor on its way to the ranks that need it or a part of it.
struct TensorMove {
  /// Needs bytes [first, first + bytes) of the tensor.
  struct Receiver {
    int rank = 0;
    int64_t first = 0, bytes = 0;
  };
  std::vector<Receiver> receivers;  // by ascending rank
  std::vector<int> domains;         // storage domains that have its file, ascending, at least one
  int64_t bytes = 0;                // of the whole tensor
  void* own = nullptr;              // this rank's place for its part; null unless it is a receiver
};

/// Reads bytes [first, first + bytes) of the tensor; false when the file is damaged.
using ReadPart = std::function<bool(int64_t first, int64_t bytes, void* out)>;

/// Bytes [first, first + bytes) of the tensor that a rank will read in move_tensor().
struct ReadBytes {
  int64_t first = 0, bytes = 0;
};
std::vector<ReadBytes> reads_of(const TensorMove& move, const StorageDomains& domains, int rank);

/// Receivers that see the file read it; the leader of the lowest domain that has it reads it for
/// the others. When the file is damaged the receiver's buffer keeps what it had. Called by all
/// ranks for the same tensors in the same order.
void move_tensor(const TensorMove& move, const StorageDomains& domains, Communicator& world,
                 const ReadPart& read, const Deadline& deadline);

}  // namespace kente
