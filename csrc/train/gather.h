#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/errors.h"

namespace kente {

/// The ranks stop together and rank 0 says why; this one ends quietly with the same status.
class PeerStopped : public PeerError {
 public:
  PeerStopped(int rank, ExitStatus status)
      : PeerError("rank " + std::to_string(rank) + " failed, rank 0 says why"), status_(status) {}
  ExitStatus status() const { return status_; }

 private:
  ExitStatus status_;
};

/// Everybody's text, by rank. A collective.
std::vector<std::string> all_gather_text(Communicator& world, const std::string& text,
                                         const Deadline& deadline);

/// 16 hex digits, equal on all ranks, different every time. A collective.
std::string shared_token(Communicator& world, const Deadline& deadline);

/// Runs work on every rank, then lets all of them know how it went. If any failed, rank 0 throws
/// the lowest failed rank's error and all others PeerStopped: one line for the user, one status. A
/// collective: work itself must not communicate.
void together(Communicator& world, const std::function<void()>& work, const Deadline& deadline);

}  // namespace kente
