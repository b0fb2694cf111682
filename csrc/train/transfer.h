#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/train/storage_domains.h"

namespace kente {

/// One stored tensor on its way to the ranks that hold it.
struct TensorMove {
  std::vector<int> holders;  // ranks that need it, ascending
  std::vector<int> domains;  // storage domains that have its file, ascending, at least one
  int64_t bytes = 0;
  void* own = nullptr;  // this rank's place for it; null unless it is a holder
};

/// Holders that see the file read it; the leader of the lowest domain that has it reads it for the
/// others. read(out) returns false when the file is damaged; then the receiver's buffer keeps what
/// it had. Called by all ranks for the same tensors in the same order.
void move_tensor(const TensorMove& move, const StorageDomains& domains, Communicator& world,
                 const std::function<bool(void* out)>& read, const Deadline& deadline);

}  // namespace kente
