#pragma once

#include <cstdint>

#include "csrc/nn/ops/vector.h"

namespace kente {

// Products too small for a library: what attention multiplies for one head, in padded buffers.

/// Columns that a tile of the product has.
template <typename Real>
inline constexpr int64_t kPanelColumns = 2 * kLanes<Real>;
/// Rows that it has.
inline constexpr int64_t kPanelRows = 8;

/// Element (i, k) at data[i row + k column].
template <typename Real>
struct StridedMatrix {
  const Real* data;
  int64_t row;
  int64_t column;
};

/// Element (k, j) at data[j / kPanelColumns panel + k row + j % kPanelColumns].
template <typename Real>
struct PanelMatrix {
  const Real* data;
  int64_t row;
  int64_t panel;
};

/// Element (i, j) at data[i row + j].
template <typename Real>
struct ProductBlock {
  Real* data;
  int64_t row;
  int64_t rows;     // a multiple of kPanelRows
  int64_t columns;  // a multiple of kPanelColumns
};

/// How many of a tile's sums are kept in registers at once: all, of which AVX-512 has enough, or as
/// many as AVX2 has. Same bits.
enum class TileSize { kWide, kNarrow };
TileSize tile_size();

/// c = a b, or c + a b where add is set; each element sums over depth in order, from 0 or from c.
/// Multiply and add are one instruction where the CPU has it: bits depend on the CPU.
void multiply_panels(const StridedMatrix<float>& a, const PanelMatrix<float>& b, int64_t depth,
                     bool add, const ProductBlock<float>& c, TileSize size = tile_size());
void multiply_panels(const StridedMatrix<double>& a, const PanelMatrix<double>& b, int64_t depth,
                     bool add, const ProductBlock<double>& c, TileSize size = tile_size());

}  // namespace kente
