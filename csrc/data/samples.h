#pragma once

#include <cstdint>

#include "csrc/base/micro_batch.h"
#include "csrc/data/verify.h"

namespace kente {

/// Windows of length + 1 tokens, each beginning at the last target of the one before: every token
/// but the first is a target once.
inline int64_t full_windows(int64_t tokens, int64_t length) {
  return tokens < 1 ? 0 : (tokens - 1) / length;
}

/// Fills row of batch from the window'th window of source: tokens, targets, loss mask, positions
/// and documents. Past the end of the text the row is padded and masked. With stop_at_documents
/// positions restart after an end-of-document token, and the target across the border is masked:
/// nothing before it could tell. Throws FormatError if the file now holds ids beyond the manifest's
/// vocabulary.
void fill_sample(const OpenSource& source, int64_t window, bool stop_at_documents, int64_t row,
                 MicroBatch& batch);

}  // namespace kente
