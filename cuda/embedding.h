#pragma once

#include <vector>

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// y[r] = table[ids[r]] (+ positions_table[positions[r]]). Moves 2 rows width elements, 3 with
/// positions. width a multiple of 8; rows width <= 2^33.
struct Embedding {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t width = 0;
  const void* table = nullptr;            // [.., width] dtype
  const int32_t* ids = nullptr;           // [rows], rows of the table, which nobody checks
  const void* positions_table = nullptr;  // [.., width] dtype; null: none
  const int32_t* positions = nullptr;     // [rows]
  void* y = nullptr;                      // [rows, width] dtype
};
cudaError_t embedding(const Embedding& op, const Queue& queue);

/// Rows with the same id, one run after the other: made on the host, where a batch's ids are known
/// long before the gradient is, so that the GPU adds them in one order without atomics.
struct IdRuns {
  std::vector<int32_t> rows;    // by id, then by number
  std::vector<int32_t> begins;  // where each id's run begins in rows; then rows.size()
  std::vector<int32_t> ids;     // of each run, ascending
};
/// Ids are not negative.
IdRuns runs_of(const int32_t* ids, int64_t rows);

/// grad_table[id] += sum of dy[r] over the id's rows, in fp32 and in the order of the runs. Moves
/// rows width elements of dy, and loads and stores a row of grad_table for every run.
struct EmbeddingBackward {
  DataType dtype = DataType::kF32;
  int64_t runs = 0;
  int64_t width = 0;
  const void* dy = nullptr;         // [rows, width] dtype
  const int32_t* rows = nullptr;    // IdRuns on the device
  const int32_t* begins = nullptr;  // [runs + 1]
  const int32_t* ids = nullptr;     // [runs]
  float* grad_table = nullptr;      // [.., width], added to
};
cudaError_t embedding_backward(const EmbeddingBackward& op, const Queue& queue);

}  // namespace kente::cuda
