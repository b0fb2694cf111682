#include "csrc/train/bucket_comms.h"

#include <algorithm>
#include <map>

namespace kente {

BucketComms::BucketComms(const Mesh& mesh, Communicator& world) {
  // Every rank takes part in every split, in the same order; equal holder sets share a
  // communicator.
  std::map<std::vector<int>, Communicator*> made;
  for (const Bucket& bucket : mesh.buckets) {
    if (bucket.holders.size() > 1 && !made.contains(bucket.holders)) {
      const bool member =
          std::binary_search(bucket.holders.begin(), bucket.holders.end(), world.rank());
      auto comm = world.split(member ? 0 : -1, world.rank());
      made[bucket.holders] = comm.get();
      if (comm) comms_.push_back(std::move(comm));
    }
    of_bucket_.push_back(bucket.holders.size() > 1 ? made[bucket.holders] : nullptr);
  }
}

}  // namespace kente
