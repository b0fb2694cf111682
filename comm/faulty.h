#pragma once

#include <cstdint>
#include <memory>

#include "comm/communicator.h"

namespace kente {

/// One fault. Operations are counted from 0: isend, irecv and collectives, barriers included.
struct Fault {
  /// kDrop: a send is lost (its work says done), a receive or collective never completes.
  /// kDelay: the rank stalls for seconds before the operation starts.   kFail: the call throws
  /// PeerError.
  enum class Kind { kDrop, kDelay, kFail };
  Kind kind = Kind::kFail;
  int64_t operation = 0;
  double seconds = 0;
};

/// A communicator for tests that does everything through inner but has one fault. Communicators
/// made by split() are inner's own.
std::unique_ptr<Communicator> make_faulty(std::unique_ptr<Communicator> inner, const Fault& fault);

}  // namespace kente
