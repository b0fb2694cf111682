#pragma once

#include "cuda/check.h"
#include "cuda/vector.cuh"

namespace kente::cuda {

// Kernels that take a matrix element by element: a thread for each access of 16 bytes.
constexpr int kMatrixThreads = 256;

/// Which of a matrix' accesses a thread has.
struct MatrixPlace {
  bool inside;
  unsigned row, column;  // of its first element

  __device__ __forceinline__ MatrixPlace(unsigned accesses, unsigned row_accesses, int wide) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    inside = i < accesses;
    row = i / row_accesses;
    column = i % row_accesses * static_cast<unsigned>(wide);
  }
};

/// Whether every access has a number of 31 bits, and a row is whole accesses.
inline bool valid_matrix(int64_t rows, int64_t width) {
  return valid_rows(rows) && valid_rows(width) && width % 8 == 0 &&
         rows <= (int64_t{1} << 33) / width;
}

template <class T>
unsigned matrix_accesses(int64_t rows, int64_t width) {
  return static_cast<unsigned>(rows * width / kWide<T>);
}

inline dim3 matrix_grid(unsigned accesses) {
  return dim3(static_cast<unsigned>(ceil_div(accesses, kMatrixThreads)));
}

}  // namespace kente::cuda
