#pragma once

#include "cuda/vector.cuh"

namespace kente::cuda {

// A row of a matrix [rows, width] lies in the registers of blockDim.x threads, kRowElements in
// each, as accesses of 16 bytes that stand side by side over the threads.
constexpr int kRowElements = 8;
constexpr int kMostRowWidth = 1024 * kRowElements;

template <class T>
constexpr int kRowParts = kRowElements / kWide<T>;

/// A thread's elements of a row; zeros where the row has ended.
template <class T>
struct RowPart {
  Vector<T, kWide<T>> parts[kRowParts<T>];
};

/// Where a thread's part number p begins in its row.
template <class T>
__device__ __forceinline__ int row_column(int p) {
  return static_cast<int>(static_cast<unsigned>(p) * blockDim.x + threadIdx.x) * kWide<T>;
}

template <class T>
__device__ __forceinline__ RowPart<T> load_row(Global<const T> from, int64_t row,
                                               int width KENTE_SITE_PARAMETER) {
  RowPart<T> result{};
  KENTE_UNROLL
  for (int p = 0; p < kRowParts<T>; ++p) {
    const int column = row_column<T>(p);
    if (column < width)
      result.parts[p] = from.template load<16>(row * width + column KENTE_SITE_ARGUMENT);
  }
  return result;
}

template <class T>
__device__ __forceinline__ void store_row(Global<T> to, int64_t row, int width,
                                          const RowPart<T>& value KENTE_SITE_PARAMETER) {
  KENTE_UNROLL
  for (int p = 0; p < kRowParts<T>; ++p) {
    const int column = row_column<T>(p);
    if (column < width)
      to.template store<16>(row * width + column, value.parts[p] KENTE_SITE_ARGUMENT);
  }
}

template <class T>
__device__ __forceinline__ Floats<kRowElements> to_floats(const RowPart<T>& part) {
  Floats<kRowElements> result;
  KENTE_UNROLL
  for (int i = 0; i < kRowElements; ++i)
    result[i] = to_float(part.parts[i / kWide<T>][i % kWide<T>]);
  return result;
}

template <class T>
__device__ __forceinline__ RowPart<T> rounded_row(const Floats<kRowElements>& values) {
  RowPart<T> result;
  KENTE_UNROLL
  for (int i = 0; i < kRowElements; ++i)
    result.parts[i / kWide<T>][i % kWide<T>] = from_float<T>(values[i]);
  return result;
}

/// The elements of a vector [width] f32 that stand over a thread's part of a row of T.
template <class T>
__device__ __forceinline__ Floats<kRowElements> load_over_row(Global<const float> from,
                                                              int width KENTE_SITE_PARAMETER) {
  Floats<kRowElements> result{};
  KENTE_UNROLL
  for (int p = 0; p < kRowParts<T>; ++p) {
    const int column = row_column<T>(p);
    if (column >= width) continue;
    const Floats<kWide<T>> part = load_floats<kWide<T>>(from, column KENTE_SITE_ARGUMENT);
    KENTE_UNROLL
    for (int i = 0; i < kWide<T>; ++i) result[p * kWide<T> + i] = part[i];
  }
  return result;
}

/// Stores them to row number row of a matrix [.., width] f32.
template <class T>
__device__ __forceinline__ void store_over_row(Global<float> to, int64_t row, int width,
                                               const Floats<kRowElements>& values
                                                   KENTE_SITE_PARAMETER) {
  KENTE_UNROLL
  for (int p = 0; p < kRowParts<T>; ++p) {
    const int column = row_column<T>(p);
    if (column >= width) continue;
    Floats<kWide<T>> part;
    KENTE_UNROLL
    for (int i = 0; i < kWide<T>; ++i) part[i] = values[p * kWide<T> + i];
    store_floats<kWide<T>>(to, row * width + column, part KENTE_SITE_ARGUMENT);
  }
}

}  // namespace kente::cuda
