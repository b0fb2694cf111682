#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/host_state.h"

namespace kente {

/// Digests of what several ranks hold alike: [shared group][holder], holders ascending.
using ReplicaDigests = std::vector<std::vector<uint64_t>>;

/// Holders of one parameter group that had other bits than the rest.
struct Corruption {
  int group = 0;
  std::vector<int> holders;   // all of them
  std::vector<int> culprits;  // a minority, healed from the others; empty: no majority
};

/// "rank 1 holds other weights of layer group 3 than ranks 0, 2"
std::string describe(const Corruption& corruption);

/// Finds silent corruption. Replicas hold the same bits of the same layers, whatever the plan; a
/// rank whose weights or moments differ got them from a flipped bit, not from training. What only
/// one rank holds, sharded moments too, has nothing to be compared with, and a gradient that is
/// wrong before it is reduced reaches all alike: neither is seen. One thread; every function but
/// empty() is a collective over all ranks.
class ReplicaCheck {
 public:
  /// All must outlive it.
  ReplicaCheck(const Mesh& mesh, Communicator& world, HostState& state, double timeout_seconds);

  /// No group has two holders: nothing can be compared.
  bool empty() const { return shared_.empty(); }
  /// Reads every shared weight and moment once.
  ReplicaDigests digests() const;
  /// What differs; the same on every rank. Where a majority agrees the others get its bits. After
  /// digests(), the training's state as it was there.
  std::vector<Corruption> heal(const ReplicaDigests& digests) const;

 private:
  struct Shared {
    int group = 0;
    const std::vector<int>* holders = nullptr;
  };
  void copy(int group, int from, const std::vector<int>& to) const;
  std::vector<BufferView> buffers_of(int group) const;

  const Mesh& mesh_;
  Communicator& world_;
  HostState& state_;
  const double timeout_seconds_;
  std::vector<Shared> shared_;
};

/// The ranks that held other bits than their own rerun of the same step gives; ascending.
std::vector<int> proved_wrong(const Mesh& mesh, const ReplicaDigests& then,
                              const ReplicaDigests& rerun);

}  // namespace kente
