#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace kente {

// What labs and their hub tell each other about rounds. Messages may be lost, doubled, late and out
// of order: each says all that its receiver needs, and every answer can be asked for again.
// Tensors travel beside them, named by their digests.

using LabId = std::string;   // as its certificate names it
using Digest = std::string;  // compared, never computed, here

/// Who sends: a hub's term counts its starts, a lab's incarnation the processes it was admitted as.
/// Whatever comes from an earlier one is refused.
struct Epoch {
  int64_t term = 0;
  int64_t incarnation = 0;
  bool operator==(const Epoch&) const = default;
};

/// What a lab has trained in a round: the difference to the weights all agreed on.
struct Contribution {
  LabId lab;
  Digest payload;      // of the difference as it is sent
  int64_t tokens = 0;  // trained in the round: its weight
  bool operator==(const Contribution&) const = default;
};

/// A round's outcome. Contributions are sorted by lab: so they are summed.
struct RoundCommit {
  int64_t round = 0;  // from 1
  Digest base;        // of the weights the contributions are differences to
  std::vector<Contribution> contributions;
  Digest aggregate;  // of their weighted mean
  bool operator==(const RoundCommit&) const = default;
};

// From a lab.
struct Join {
  uint64_t session = 0;  // larger for each process of a lab, the same for all that one process says
};
struct Update {
  Epoch epoch;
  int64_t round = 0;
  Digest base;
  Contribution contribution;
};
struct Vote {
  Epoch epoch;
  int64_t round = 0;
  Digest weights;  // after this round's commit
};
/// What the lab has; answered with what it lacks.
struct Ask {
  Epoch epoch;
  int64_t applied = 0;  // rounds
  Digest weights;
  int64_t stored = 0;  // of them in a checkpoint
};
using ToHub = std::variant<Join, Update, Vote, Ask>;

// From the hub.
struct Admit {
  Epoch epoch;
  uint64_t session = 0;
};
/// A later process of the lab has joined: this one must end.
struct Fenced {
  uint64_t session = 0;
};
/// The update is the hub's; until the round is done the lab keeps it all the same.
struct Received {
  Epoch epoch;
  int64_t round = 0;
  Digest payload;
};
struct Committed {
  Epoch epoch;
  RoundCommit commit;
};
/// All weights of the round are these.
struct Done {
  Epoch epoch;
  int64_t round = 0;
  Digest weights;
};
/// The lab's weights are wrong, or too old to be brought forward: it takes these from another lab.
struct Heal {
  Epoch epoch;
  int64_t round = 0;
  Digest weights;
  LabId from;
};
using ToLab = std::variant<Admit, Fenced, Received, Committed, Done, Heal>;

}  // namespace kente
