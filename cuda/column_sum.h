#pragma once

#include "cuda/dtype.h"
#include "cuda/queue.h"

namespace kente::cuda {

/// sums[c] += sum over r of x[r, c], in fp32 and in an order that depends on rows alone.
/// x [rows, columns] f32, contiguous; sums [columns]; columns a multiple of 4. For few rows, such
/// as the partial sums that blocks leave.
cudaError_t add_column_sums(const float* x, int64_t rows, int64_t columns, float* sums,
                            cudaStream_t stream);

/// The same of any dtype and many rows: the gradient of a bias, grad[c] += sum over r of dy[r, c].
struct ColumnSum {
  DataType dtype = DataType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;         // a multiple of 8
  const void* x = nullptr;     // [rows, columns] dtype
  float* sums = nullptr;       // [columns], added to
  float* workspace = nullptr;  // column_sum_workspace() floats
};

int64_t column_sum_workspace(int64_t rows, int64_t columns, const Tuning& tuning);

/// Moves rows columns elements, and the partial sums.
cudaError_t column_sum(const ColumnSum& sum, const Queue& queue);

}  // namespace kente::cuda
