#include "csrc/train/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "csrc/base/errors.h"
#include "csrc/base/micro_batch.h"
#include "csrc/base/rng.h"
#include "csrc/nn/chunk.h"

namespace kente {
namespace {

/// Draws a token from logits [vocab] by temperature and top-k.
int32_t draw(const float* logits, int64_t vocab, const GenerateOptions& options, int64_t position) {
  if (options.temperature == 0)
    return static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
  std::vector<int32_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), 0);
  const int64_t kept = options.top_k > 0 ? std::min(options.top_k, vocab) : vocab;
  // Equal logits are ordered by token, so that the result does not depend on the library's sort.
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  std::vector<double> weights(static_cast<size_t>(kept));
  double total = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    weights[i] =
        std::exp((static_cast<double>(logits[order[i]]) - static_cast<double>(logits[order[0]])) /
                 options.temperature);
    total += weights[i];
  }
  double left =
      total * random_uniform(options.seed, RngUse::kSample, 0, static_cast<uint64_t>(position));
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[weights.size() - 1];
}

}  // namespace

std::vector<int32_t> generate(const Recipe& recipe, const Parameters& parameters,
                              std::vector<int32_t> prompt, const GenerateOptions& options) {
  const int64_t vocab = recipe.model.vocab_size;
  if (prompt.empty()) throw UsageError("prompt: 0 tokens, at least 1 is needed");
  for (const int32_t token : prompt)
    if (token < 0 || token >= vocab)
      throw UsageError("prompt: token " + std::to_string(token) + ", the vocabulary has " +
                       std::to_string(vocab));
  ChunkOptions chunk_options;
  chunk_options.compute = recipe.numerics.compute;
  Chunk model(recipe.model, {.first = 0, .last = recipe.model.num_layers() - 1}, chunk_options,
              parameters);
  for (int64_t i = 0; i < options.count; ++i) {
    const auto all = static_cast<int64_t>(prompt.size());
    const int64_t length = std::min(all, recipe.sequence_length);
    MicroBatch batch = MicroBatch::zeros(1, length);
    for (int64_t t = 0; t < length; ++t) {
      batch.plane(MicroBatch::kTokens)[t] = prompt[static_cast<size_t>(all - length + t)];
      batch.plane(MicroBatch::kPositions)[t] = static_cast<int32_t>(t);
    }
    const at::Tensor logits =
        model.evaluate_logits(batch, model.evaluate(batch, at::Tensor())).contiguous();
    prompt.push_back(draw(logits.data_ptr<float>() + (length - 1) * vocab, vocab, options, all));
    if (prompt.back() == options.end_token) break;
  }
  return prompt;
}

}  // namespace kente
