#include "csrc/nn/ops/attention.h"

namespace kente {

std::vector<AttentionSegment> attention_segments(const MicroBatch& batch, bool stop_at_documents) {
  std::vector<AttentionSegment> segments;
  const int32_t* documents = batch.plane(MicroBatch::kDocuments);
  for (int64_t sample = 0; sample < batch.samples; ++sample) {
    const int64_t first = sample * batch.length;
    segments.push_back({first, batch.length});
    if (!stop_at_documents) continue;
    for (int64_t row = first + 1; row < first + batch.length; ++row) {
      if (documents[row] == documents[row - 1]) continue;
      AttentionSegment& open = segments.back();
      const int64_t end = open.first_row + open.rows;
      open.rows = row - open.first_row;
      segments.push_back({row, end - row});
    }
  }
  return segments;
}

}  // namespace kente
