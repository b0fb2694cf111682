#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/data/loader.h"
#include "csrc/data/samples.h"
#include "csrc/data/verify.h"

namespace kente {

struct ValidationData::State {
  std::vector<OpenSource> sources;
  std::vector<int64_t> first_sample;  // of each source, and the end
  int64_t length = 0;
  bool stop_at_documents = false;
};

ValidationData::ValidationData(const Recipe& recipe, const std::string& directory)
    : state_(std::make_unique<State>()) {
  state_->sources = open_sources(recipe, directory, SourcePart::kValidation);
  state_->length = recipe.sequence_length;
  state_->stop_at_documents = recipe.data.stop_at_documents;
  state_->first_sample = {0};
  for (const OpenSource& source : state_->sources) {
    const int64_t targets = std::max(source.tokens.tokens() - 1, int64_t{0});
    const int64_t windows = (targets + state_->length - 1) / state_->length;
    state_->first_sample.push_back(state_->first_sample.back() +
                                   std::min(windows, recipe.validation.samples_per_source));
  }
  if (samples() == 0 && recipe.validation.every_steps > 0)
    throw UsageError(directory + ": no source has held-back text; prepare the sources with some, " +
                     "or set validation.every_steps to 0");
}

ValidationData::~ValidationData() = default;

int64_t ValidationData::samples() const { return state_->first_sample.back(); }

int ValidationData::source_of(int64_t sample) const {
  KENTE_CHECK(sample >= 0 && sample < samples(),
              std::to_string(sample) + " of " + std::to_string(samples()));
  const auto& first = state_->first_sample;
  return static_cast<int>(std::upper_bound(first.begin(), first.end(), sample) - first.begin()) - 1;
}

MicroBatch ValidationData::load(int64_t first_sample, int64_t count) const {
  MicroBatch batch = MicroBatch::zeros(count, state_->length);
  for (int64_t row = 0; row < count; ++row) {
    const auto source = static_cast<size_t>(source_of(first_sample + row));
    fill_sample(state_->sources[source], first_sample + row - state_->first_sample[source],
                state_->stop_at_documents, row, batch);
  }
  return batch;
}

double ValidationData::bytes_per_token(int source) const {
  const TokenFile& file = state_->sources.at(static_cast<size_t>(source)).manifest.validation;
  return file.tokens == 0 ? 0
                          : static_cast<double>(file.text_bytes) / static_cast<double>(file.tokens);
}

}  // namespace kente
