#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "csrc/base/micro_batch.h"
#include "csrc/config/recipe.h"
#include "csrc/data/manifest.h"

namespace kente {

/// The recipe's training samples. Sample index i (from 0, step s holds [s n, (s + 1) n)) is a pure
/// function of (recipe, data): nothing about ranks, plans or time enters. Memory-mapped;
/// thread-safe reads.
class TrainingData {
 public:
  /// Opens and verifies every source of the recipe under directory (sizes, index, digests). Throws
  /// UsageError naming a source that is missing or has another digest, FormatError a damaged file.
  TrainingData(const Recipe& recipe, const std::string& directory);
  ~TrainingData();

  /// Samples [first_sample, first_sample + count), each sequence_length long.
  MicroBatch load(int64_t first_sample, int64_t count) const;
  /// Which source, window and epoch a sample is.
  struct Location {
    int source;
    int64_t epoch;
    int64_t window;
  };
  Location locate(int64_t sample) const;
  /// Samples per epoch of all sources together; for progress ("epoch 1.7").
  double epochs(int64_t samples) const;
  /// The manifests used, in recipe order: licences and languages for the report.
  const std::vector<SourceManifest>& manifests() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Held-back documents, cut into windows in order: source by source, at most samples_per_source
/// each. The last window of a source is padded and masked.
class ValidationData {
 public:
  ValidationData(const Recipe& recipe, const std::string& directory);
  ~ValidationData();

  int64_t samples() const;
  /// The recipe's source index of a sample.
  int source_of(int64_t sample) const;
  MicroBatch load(int64_t first_sample, int64_t count) const;
  /// UTF-8 bytes per token of a source's held-back text: bits per byte = nats / ln 2 / this.
  double bytes_per_token(int source) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads ahead on a thread of its own: the micro-batches of coming steps, in order.
class Loader {
 public:
  /// first_grain and grains of each micro-batch of a step, for the replicas whose first stage this
  /// rank is.
  struct Slice {
    int64_t first_grain;
    int64_t grains;
  };
  /// Steps [first_step, end_step), counted from 0.
  Loader(const TrainingData& data, const Recipe& recipe, std::vector<Slice> slices,
         int64_t first_step, int64_t end_step);
  ~Loader();
  /// The micro-batches of the next step, one per slice. Rethrows what the thread met.
  std::vector<MicroBatch> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kente
