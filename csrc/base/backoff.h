#pragma once

#include <cstdint>
#include <string>

#include "csrc/base/clock.h"

namespace kente {

/// How a thread waits for a peer that may need its core. First it polls and yields, for answers
/// that come at once; then it sleeps a little between polls, so that ranks that share a core
/// compute undisturbed. One object a wait.
class Backoff {
 public:
  /// Returns when it is time to poll again.
  void pause();

 private:
  int64_t started_ns_ = 0;  // 0: not yet
};

/// Sleeps until the monotonic clock says at_ns, or a tenth of a millisecond if that is earlier: the
/// caller polls in between. Wakes late by what the kernel needs, not by its usual 50 us more.
void nap_until(int64_t at_ns);

/// "no answer within 0.3 s; resume the run": the end of the message when a wait's deadline has
/// passed.
std::string no_answer_within(const Deadline& deadline);

}  // namespace kente
