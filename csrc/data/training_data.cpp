#include "csrc/base/errors.h"
#include "csrc/data/loader.h"
#include "csrc/data/mixture.h"
#include "csrc/data/samples.h"
#include "csrc/data/verify.h"

namespace kente {
namespace {

std::vector<Mixture::Source> mixture_sources(const Recipe& recipe,
                                             const std::vector<OpenSource>& sources) {
  std::vector<Mixture::Source> out;
  for (size_t i = 0; i < sources.size(); ++i)
    out.push_back({.id = recipe.data.sources[i].id,
                   .weight = recipe.data.sources[i].weight,
                   .windows = full_windows(sources[i].tokens.tokens(), recipe.sequence_length)});
  return out;
}

}  // namespace

struct TrainingData::State {
  State(const Recipe& recipe, const std::string& directory)
      : sources(open_sources(recipe, directory, SourcePart::kTrain)),
        mixture(recipe.seed, mixture_sources(recipe, sources)),
        length(recipe.sequence_length),
        stop_at_documents(recipe.data.stop_at_documents) {
    for (const OpenSource& source : sources) {
      manifests.push_back(source.manifest);
      windows += full_windows(source.tokens.tokens(), length);
    }
  }

  std::vector<OpenSource> sources;
  Mixture mixture;
  int64_t length;
  bool stop_at_documents;
  std::vector<SourceManifest> manifests;
  int64_t windows = 0;  // of all sources
};

TrainingData::TrainingData(const Recipe& recipe, const std::string& directory)
    : state_(std::make_unique<State>(recipe, directory)) {}

TrainingData::~TrainingData() = default;

MicroBatch TrainingData::load(int64_t first_sample, int64_t count) const {
  MicroBatch batch = MicroBatch::zeros(count, state_->length);
  for (int64_t row = 0; row < count; ++row) {
    const Location at = locate(first_sample + row);
    fill_sample(state_->sources[static_cast<size_t>(at.source)], at.window,
                state_->stop_at_documents, row, batch);
  }
  return batch;
}

TrainingData::Location TrainingData::locate(int64_t sample) const {
  const Mixture::Location at = state_->mixture.locate(sample);
  return {.source = at.source, .epoch = at.epoch, .window = at.window};
}

double TrainingData::epochs(int64_t samples) const {
  return static_cast<double>(samples) / static_cast<double>(state_->windows);
}

const std::vector<SourceManifest>& TrainingData::manifests() const { return state_->manifests; }

}  // namespace kente
