#pragma once

#include <cstdint>

#include "csrc/outer/round_messages.h"

namespace kente {

/// How rounds between labs are held. Times in nanoseconds.
struct RoundPolicy {
  int quorum = 1;           // a round needs so many updates, and so many votes after the deadline
  int64_t round_time = 0;   // then it is closed with those that are there
  int64_t vote_time = 0;    // then those that voted decide, if they agree
  int64_t silence = 0;      // a lab that says nothing for so long is not waited for
  int64_t ask_every = 0;    // a lab says what it has
  int64_t rounds_kept = 0;  // whose aggregates the hub keeps for labs that come back
  Digest initial_weights;   // round 0
};

}  // namespace kente
