#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// What all forms of the loss know of a batch's rows.
struct LossRows {
  int64_t rows = 0;
  const int32_t* targets = nullptr;  // [rows], below the vocabulary
  const int32_t* mask = nullptr;     // [rows], 0: the row contributes nothing; null: all do
  float* nats = nullptr;             // [rows], the loss of each; 0 where masked
};

enum class LogitsBecome { kGradient, kNothing };

/// Per row: nats = log(sum_v e^l_v) - l_target; the logits become their gradient, grad_scale
/// (softmax(l) - onehot(target)), 0 where masked and beyond the vocabulary. All in fp32. A row that
/// fits into the registers and shared memory of a block is loaded once: moves 2 rows stride
/// elements, 1 where no gradient is wanted; a wider one is loaded twice.
struct CrossEntropy {
  DataType dtype = DataType::kF32;
  LossRows loss;
  int64_t vocabulary = 0;
  int64_t stride = 0;      // elements from row to row: a multiple of 8, >= vocabulary, <= 2^20
  void* logits = nullptr;  // [rows, stride] dtype
  LogitsBecome become = LogitsBecome::kGradient;
  float grad_scale = 1;
};
cudaError_t cross_entropy(const CrossEntropy& op, const Queue& queue);
/// Whether a row is loaded once.
bool fits_on_chip(DataType dtype, int64_t stride, const Tuning& tuning);

/// The same without ever holding all logits: the vocabulary comes in chunks, first 0 and then
/// ascending without a gap. For each, cross_entropy_gather; then cross_entropy_nats; then, if
/// gradients are wanted, the chunks' logits again, each through cross_entropy_gradient. What a row
/// needs to keep between is 12 bytes.
/// Source: the running maximum, Milakov and Gimelshein 2018, arXiv:1805.02867, algorithm 3.
struct VocabularyChunk {
  DataType dtype = DataType::kF32;
  LossRows loss;
  int64_t first = 0;               // the vocabulary's number of the chunk's first column
  int64_t columns = 0;             // of the vocabulary
  int64_t stride = 0;              // as in CrossEntropy
  void* logits = nullptr;          // [rows, stride] dtype
  float* running = nullptr;        // [rows, 2]: the maximum so far, the sum of e^(l - maximum)
  float* target_logits = nullptr;  // [rows]
};
/// Moves rows stride elements.
cudaError_t cross_entropy_gather(const VocabularyChunk& chunk, const Queue& queue);
/// After the last chunk. Logits are not looked at.
cudaError_t cross_entropy_nats(const VocabularyChunk& chunk, const Queue& queue);
/// The chunk's logits become their gradient. Moves 2 rows stride elements.
cudaError_t cross_entropy_gradient(const VocabularyChunk& chunk, float grad_scale,
                                   const Queue& queue);

}  // namespace kente::cuda
