#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "csrc/plan/mesh.h"

namespace kente {

/// Communicators of the ranks that hold a bucket; its holders are ranked in ascending order.
class BucketComms {
 public:
  /// A collective over world: one communicator per distinct set of holders.
  BucketComms(const Mesh& mesh, Communicator& world);

  /// Null: this rank is the only holder, or none.
  Communicator* of(int bucket) const { return of_bucket_.at(static_cast<size_t>(bucket)); }

 private:
  std::vector<Communicator*> of_bucket_;
  std::vector<std::unique_ptr<Communicator>> comms_;
};

}  // namespace kente
