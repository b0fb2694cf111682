// Compiled with -ffp-contract=fast: see CMakeLists.txt.
#include "csrc/nn/ops/panel_product.h"

namespace kente {
namespace {

/// kRows x kVecs vectors of the product, kept in registers over the whole depth.
template <typename Real, int kRows, int kVecs>
KENTE_INLINE void multiply_tile(const Real* a, const StridedMatrix<Real>& strides, const Real* b,
                                int64_t b_row, int64_t depth, bool add, Real* c, int64_t c_row) {
  Vec<Real> sums[kRows][kVecs];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
      sums[row][v] = add ? load(c + row * c_row + v * kLanes<Real>, kLanes<Real>) : Vec<Real>{};
  for (int64_t k = 0; k < depth; ++k) {
    Vec<Real> right[kVecs];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) right[v] = load(b + k * b_row + v * kLanes<Real>, kLanes<Real>);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      // Not splat(): g++ 12 puts together what it returns lane by lane.
      const Vec<Real> left = a[row * strides.row + k * strides.column] - Vec<Real>{};
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) sums[row][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
      store(c + row * c_row + v * kLanes<Real>, sums[row][v], kLanes<Real>);
}

template <typename Real, int kRows, int kVecs>
KENTE_KERNEL void multiply(const StridedMatrix<Real>& a, const PanelMatrix<Real>& b, int64_t depth,
                           bool add, const ProductBlock<Real>& c) {
  for (int64_t j = 0; j < c.columns; j += kPanelColumns<Real>) {
    const Real* panel = b.data + j / kPanelColumns<Real> * b.panel;
    for (int64_t i = 0; i < c.rows; i += kRows)
      for (int64_t v = 0; v < kPanelColumns<Real>; v += kVecs * kLanes<Real>)
        multiply_tile<Real, kRows, kVecs>(a.data + i * a.row, a, panel + v, b.row, depth, add,
                                          c.data + i * c.row + j + v, c.row);
  }
}

template <typename Real>
void multiply_in(TileSize size, const StridedMatrix<Real>& a, const PanelMatrix<Real>& b,
                 int64_t depth, bool add, const ProductBlock<Real>& c) {
  if (size == TileSize::kWide) return multiply<Real, kPanelRows, 2>(a, b, depth, add, c);
  multiply<Real, kPanelRows / 2, 1>(a, b, depth, add, c);
}

}  // namespace

TileSize tile_size() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx512f");
  return wide ? TileSize::kWide : TileSize::kNarrow;
#else
  return TileSize::kNarrow;
#endif
}

void multiply_panels(const StridedMatrix<float>& a, const PanelMatrix<float>& b, int64_t depth,
                     bool add, const ProductBlock<float>& c, TileSize size) {
  multiply_in(size, a, b, depth, add, c);
}

void multiply_panels(const StridedMatrix<double>& a, const PanelMatrix<double>& b, int64_t depth,
                     bool add, const ProductBlock<double>& c, TileSize size) {
  multiply_in(size, a, b, depth, add, c);
}

}  // namespace kente
