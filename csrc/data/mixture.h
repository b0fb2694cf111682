#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kente {

/// The order of samples, without an index in memory; a pure function of the seed, the weights and
/// the sources' sizes.
///
/// Time is cut into periods of kPeriod samples. In each a source gets the same number of places,
/// its quota: its share of the weights, rounded by largest remainder. One random pattern holds the
/// places, and each period turns it by a random angle. A source's windows are counted on through
/// the periods, so all of them come once, in an order shuffled anew for each epoch, before any
/// comes again.
class Mixture {
 public:
  static constexpr int64_t kPeriod = 4096;

  struct Source {
    std::string id;  // for messages
    double weight = 1;
    int64_t windows = 0;  // samples in one epoch of the source
  };
  /// Throws UsageError for a source too small for a window, or a weight too small for one place.
  Mixture(uint64_t seed, const std::vector<Source>& sources);

  struct Location {
    int source = 0;
    int64_t epoch = 0;
    int64_t window = 0;
  };
  /// sample >= 0. O(log kPeriod).
  Location locate(int64_t sample) const;
  /// Places of a source in each period.
  int64_t quota(int source) const;

 private:
  uint64_t seed_;
  std::vector<int64_t> windows_;
  std::vector<int> source_at_;                // by place in the pattern
  std::vector<int> rank_at_;                  // how many places of the same source come before it
  std::vector<std::vector<int64_t>> places_;  // of each source, ascending
};

}  // namespace kente
