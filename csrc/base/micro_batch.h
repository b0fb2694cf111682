#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kente {

/// One or more samples on their way through a pipeline, with everything a later stage needs besides
/// activations, so that only first stages read token files.
///
/// fields [5, samples, length] i32, contiguous; plane order as in Field. A target is the next
/// token. loss_mask is 1 where the target counts, else 0. documents numbers the documents inside a
/// sample from 0; attention stops at their borders if the recipe says so. positions count from 0
/// inside a sample, or inside a document if attention stops at borders.
struct MicroBatch {
  enum Field { kTokens = 0, kTargets = 1, kLossMask = 2, kPositions = 3, kDocuments = 4 };
  static constexpr int64_t kFields = 5;

  int64_t samples = 0;
  int64_t length = 0;
  std::vector<int32_t> fields;

  static MicroBatch zeros(int64_t samples, int64_t length) {
    return {samples, length, std::vector<int32_t>(static_cast<size_t>(kFields * samples * length))};
  }
  /// [samples, length]
  int32_t* plane(Field field) { return fields.data() + field * samples * length; }
  const int32_t* plane(Field field) const { return fields.data() + field * samples * length; }
};

}  // namespace kente
