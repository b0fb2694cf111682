#include "csrc/data/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

// Streams of RngUse::kMixture.
constexpr uint64_t kPatternStream = 0;
constexpr uint64_t kTurnStream = 1;

/// Largest remainder; of equal remainders the earlier source first.
std::vector<int64_t> quotas_of(const std::vector<Mixture::Source>& sources) {
  double total = 0;
  for (const Mixture::Source& source : sources) total += source.weight;
  std::vector<int64_t> quotas;
  std::vector<double> remainders;
  for (const Mixture::Source& source : sources) {
    const double exact = source.weight / total * static_cast<double>(Mixture::kPeriod);
    quotas.push_back(static_cast<int64_t>(std::floor(exact)));
    remainders.push_back(exact - std::floor(exact));
  }
  std::vector<size_t> order(sources.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  int64_t left = Mixture::kPeriod - std::accumulate(quotas.begin(), quotas.end(), int64_t{0});
  for (size_t i = 0; left > 0; i = (i + 1) % order.size(), --left) ++quotas[order[i]];
  return quotas;
}

}  // namespace

Mixture::Mixture(uint64_t seed, const std::vector<Source>& sources)
    : seed_(seed),
      source_at_(static_cast<size_t>(kPeriod)),
      rank_at_(static_cast<size_t>(kPeriod)),
      places_(sources.size()) {
  KENTE_CHECK(!sources.empty(), "no source");
  const std::vector<int64_t> quotas = quotas_of(sources);
  uint64_t next = 0;
  for (size_t s = 0; s < sources.size(); ++s) {
    if (sources[s].windows < 1)
      throw UsageError("source \"" + sources[s].id +
                       "\" has less text than one sample: leave it out or shorten sequence_length");
    if (quotas[s] < 1)
      throw UsageError("source \"" + sources[s].id +
                       "\" has too small a weight for one sample in " + std::to_string(kPeriod) +
                       ": raise data.source.weight or leave it out");
    windows_.push_back(sources[s].windows);
    for (int64_t i = 0; i < quotas[s]; ++i, ++next)
      source_at_[random_permutation(seed, RngUse::kMixture, kPatternStream, kPeriod, next)] =
          static_cast<int>(s);
  }
  for (size_t place = 0; place < source_at_.size(); ++place) {
    auto& places = places_[static_cast<size_t>(source_at_[place])];
    rank_at_[place] = static_cast<int>(places.size());
    places.push_back(static_cast<int64_t>(place));
  }
}

Mixture::Location Mixture::locate(int64_t sample) const {
  KENTE_CHECK(sample >= 0, std::to_string(sample));
  const int64_t period = sample / kPeriod;
  const int64_t turn = static_cast<int64_t>(
      random_bits(seed_, RngUse::kMixture, kTurnStream, static_cast<uint64_t>(period)) % kPeriod);
  const auto place = static_cast<size_t>((sample % kPeriod + turn) % kPeriod);
  const int source = source_at_[place];
  const auto& places = places_[static_cast<size_t>(source)];
  const auto quota = static_cast<int64_t>(places.size());
  // Places of this source that the turn moved from the period's start to its end.
  const auto skipped = std::lower_bound(places.begin(), places.end(), turn) - places.begin();
  const int64_t rank = (rank_at_[place] - skipped + quota) % quota;

  const int64_t ordinal = period * quota + rank;
  const int64_t windows = windows_[static_cast<size_t>(source)];
  const int64_t epoch = ordinal / windows;
  // Unsigned: far out, after 2^52 epochs, it wraps around.
  const uint64_t stream = static_cast<uint64_t>(epoch) * kPeriod + static_cast<uint64_t>(source);
  const uint64_t window =
      random_permutation(seed_, RngUse::kShuffle, stream, static_cast<uint64_t>(windows),
                         static_cast<uint64_t>(ordinal % windows));
  return {.source = source, .epoch = epoch, .window = static_cast<int64_t>(window)};
}

int64_t Mixture::quota(int source) const {
  return static_cast<int64_t>(places_.at(static_cast<size_t>(source)).size());
}

}  // namespace kente
