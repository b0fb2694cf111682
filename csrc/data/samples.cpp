#include "csrc/data/samples.h"

#include <algorithm>
#include <vector>

#include "csrc/base/errors.h"

namespace kente {
namespace {

// The file was verified when it was opened; an id out of range would read beyond the embedding.
void check_ids(const std::vector<int32_t>& ids, const OpenSource& source, int64_t first) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (static_cast<uint32_t>(ids[i]) >= static_cast<uint32_t>(source.manifest.vocab_size))
      throw FormatError(source.tokens.bin_path(),
                        (first + static_cast<int64_t>(i)) * size_of(source.tokens.dtype()),
                        "token id " + std::to_string(ids[i]) +
                            " appeared after the file was verified: it was changed; start again");
}

}  // namespace

void fill_sample(const OpenSource& source, int64_t window, bool stop_at_documents, int64_t row,
                 MicroBatch& batch) {
  const int64_t length = batch.length;
  const int64_t first = window * length;
  const int64_t count = std::min(length + 1, source.tokens.tokens() - first);
  const auto end_of_document = static_cast<int32_t>(source.manifest.end_of_document);
  std::vector<int32_t> ids(static_cast<size_t>(std::max(count, int64_t{0})));
  source.tokens.copy(first, count, ids.data());
  check_ids(ids, source, first);
  ids.resize(static_cast<size_t>(length + 1), end_of_document);

  const auto plane = [&](MicroBatch::Field field) { return batch.plane(field) + row * length; };
  std::copy_n(ids.begin(), length, plane(MicroBatch::kTokens));
  std::copy_n(ids.begin() + 1, length, plane(MicroBatch::kTargets));
  int32_t* mask = plane(MicroBatch::kLossMask);
  int32_t* positions = plane(MicroBatch::kPositions);
  int32_t* documents = plane(MicroBatch::kDocuments);
  int32_t document = 0;
  int32_t position = 0;
  for (int64_t i = 0; i < length; ++i) {
    const bool ends = ids[static_cast<size_t>(i)] == end_of_document;
    const bool padding = i + 1 >= count;
    mask[i] = !padding && !(ends && stop_at_documents);
    positions[i] = position++;
    documents[i] = document;
    // Padding is one document, not one each.
    if (ends && i < count) {
      ++document;
      if (stop_at_documents) position = 0;
    }
  }
}

}  // namespace kente
