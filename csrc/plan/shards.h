#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/model_layout.h"
#include "csrc/plan/mesh.h"

namespace kente {

/// Elements [begin, end) of a parameter group's flat buffer.
struct ElementRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const ElementRange&) const = default;
};

/// What both have; of size 0 when that is nothing.
ElementRange intersect(const ElementRange& a, const ElementRange& b);

/// Cuts so many elements, a multiple of kBlockElements, at block borders into one range a weight.
/// They follow each other and cover every element once; each is within one block of its part in
/// proportion, and empty for weight 0. Weights that are all 0 count as equal.
std::vector<ElementRange> cut_in_proportion(int64_t elements, const std::vector<int64_t>& weights);

/// Of a group of so many elements: whose optimizer state each holder of its bucket keeps, in the
/// order of the holders; everybody all of it unless the plan shards.
std::vector<ElementRange> optimizer_shards(const Bucket& bucket, int64_t elements);

/// One rank's optimizer_shards, by group index; empty for groups it does not hold.
std::vector<ElementRange> optimizer_shards_of(int rank, const Mesh& mesh,
                                              const std::vector<ParamGroup>& layout);

}  // namespace kente
