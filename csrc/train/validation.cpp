#include "csrc/train/validation.h"

#include <algorithm>
#include <numbers>

#include "csrc/nn/ops/fixed_point.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

/// What all ranks add up for one source; integers, so order cannot matter.
struct SourceSums {
  FixedLoss loss;
  int64_t tokens = 0;
};

}  // namespace

Validation::Validation(const Recipe& recipe, const Mesh& mesh, Communicator& world,
                       const std::string& data_directory, double timeout_seconds)
    : recipe_(recipe), mesh_(mesh), world_(world), timeout_seconds_(timeout_seconds) {
  if (recipe.validation.every_steps == 0) return;
  const Deadline deadline = Deadline::after_seconds(timeout_seconds);
  bytes_per_token_.assign(recipe.data.sources.size(), 0);
  together(
      world,
      [&] {
        if (!mesh.reads_data(world.rank())) return;
        data_ = std::make_unique<ValidationData>(recipe, data_directory);
        cut_into_pieces(bytes_per_token_);
      },
      deadline);
  // Ranks without token files learn the list from the first rank that has them.
  const int root = mesh.replicas.front().chunks.front().rank;
  int64_t count = static_cast<int64_t>(pieces_.size());
  world.broadcast({.data = &count, .count = 1, .dtype = DType::kI64}, root)->wait(deadline);
  pieces_.resize(static_cast<size_t>(count));
  constexpr int64_t kFields = sizeof(Piece) / sizeof(int64_t);
  if (count > 0)
    world.broadcast({.data = pieces_.data(), .count = count * kFields, .dtype = DType::kI64}, root)
        ->wait(deadline);
  world
      .broadcast({.data = bytes_per_token_.data(),
                  .count = static_cast<int64_t>(bytes_per_token_.size()),
                  .dtype = DType::kF64},
                 root)
      ->wait(deadline);
}

void Validation::cut_into_pieces(std::vector<double>& bytes_per_token) {
  for (int64_t sample = 0; sample < data_->samples();) {
    const int source = data_->source_of(sample);
    int64_t samples = 1;
    while (samples < recipe_.grain_samples && sample + samples < data_->samples() &&
           data_->source_of(sample + samples) == source)
      ++samples;
    pieces_.push_back({.first_sample = sample, .samples = samples, .source = source});
    sample += samples;
  }
  for (size_t source = 0; source < bytes_per_token.size(); ++source)
    bytes_per_token[source] = data_->bytes_per_token(static_cast<int>(source));
}

ValidationRecord Validation::run(int64_t step, Step& step_engine) {
  const auto replicas = mesh_.replicas.size();
  const int mine = mesh_.replica_of(world_.rank());
  std::vector<int> counts(replicas);
  std::vector<int64_t> sizes;
  std::vector<MicroBatch> batches;
  std::vector<int64_t> source_of_mine;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    ++counts[i % replicas];
    if (static_cast<int>(i % replicas) != mine) continue;
    sizes.push_back(pieces_[i].samples);
    source_of_mine.push_back(pieces_[i].source);
    if (data_) batches.push_back(data_->load(pieces_[i].first_sample, pieces_[i].samples));
  }
  const std::vector<LossSums> sums = step_engine.evaluate(counts, sizes, std::move(batches));

  std::vector<SourceSums> totals(bytes_per_token_.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    SourceSums& total = totals[static_cast<size_t>(source_of_mine[i])];
    for (const double nats : sums[i].nats)
      total.loss.add(nats, static_cast<int64_t>(pieces_.size()));
    for (const int64_t tokens : sums[i].tokens) total.tokens += tokens;
  }
  constexpr int64_t kFields = sizeof(SourceSums) / sizeof(int64_t);
  world_
      .all_reduce({.data = totals.data(),
                   .count = static_cast<int64_t>(totals.size()) * kFields,
                   .dtype = DType::kI64},
                  ReduceOp::kSum)
      ->wait(Deadline::after_seconds(timeout_seconds_));

  ValidationRecord record;
  record.step = step;
  double nats = 0, tokens = 0, bytes = 0;
  for (size_t source = 0; source < bytes_per_token_.size(); ++source) {
    const double source_nats = totals[source].loss.total();
    const auto source_tokens = static_cast<double>(totals[source].tokens);
    if (source_tokens == 0) continue;
    const double source_bytes = source_tokens * bytes_per_token_[source];
    record.sources.push_back({.id = recipe_.data.sources[source].id,
                              .loss = source_nats / source_tokens,
                              .bits_per_byte = source_nats / std::numbers::ln2 / source_bytes,
                              .tokens = totals[source].tokens});
    nats += source_nats;
    tokens += source_tokens;
    bytes += source_bytes;
  }
  if (tokens > 0) {
    record.loss = nats / tokens;
    record.bits_per_byte = nats / std::numbers::ln2 / bytes;
  }
  return record;
}

}  // namespace kente
