#include "csrc/plan/shards.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kente {

ElementRange intersect(const ElementRange& a, const ElementRange& b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {.begin = begin, .end = std::max(begin, std::min(a.end, b.end))};
}

std::vector<ElementRange> cut_in_proportion(int64_t elements, const std::vector<int64_t>& weights) {
  const int64_t sum = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  const int64_t blocks = elements / kBlockElements;
  const int64_t total = sum > 0 ? sum : static_cast<int64_t>(weights.size());
  std::vector<ElementRange> ranges;
  int64_t before = 0;  // weights so far
  int64_t begin = 0;
  for (const int64_t weight : weights) {
    before += sum > 0 ? weight : 1;
    // Exact at both ends: the last fraction is 1. Each border is off by half a block at most.
    const double fraction = static_cast<double>(before) / static_cast<double>(total);
    const int64_t end = std::llround(static_cast<double>(blocks) * fraction) * kBlockElements;
    ranges.push_back({.begin = begin, .end = end});
    begin = end;
  }
  return ranges;
}

std::vector<ElementRange> optimizer_shards(const Bucket& bucket, int64_t elements) {
  if (!bucket.optimizer_weights.empty())
    return cut_in_proportion(elements, bucket.optimizer_weights);
  return std::vector<ElementRange>(bucket.holders.size(), {.begin = 0, .end = elements});
}

std::vector<ElementRange> optimizer_shards_of(int rank, const Mesh& mesh,
                                              const std::vector<ParamGroup>& layout) {
  std::vector<ElementRange> shards(layout.size());
  for (const Bucket& bucket : mesh.buckets) {
    const auto held = std::lower_bound(bucket.holders.begin(), bucket.holders.end(), rank);
    if (held == bucket.holders.end() || *held != rank) continue;
    const auto holder = static_cast<size_t>(held - bucket.holders.begin());
    for (const int group : bucket.groups) {
      const auto index = static_cast<size_t>(group);
      shards[index] = optimizer_shards(bucket, layout[index].size)[holder];
    }
  }
  return shards;
}

}  // namespace kente
