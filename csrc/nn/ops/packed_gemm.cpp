// A product of bf16 matrices from oneDNN's kernel for one block, which ATen exports. The kernel
// wants b as pairs: element (k, n) of the packed block holds (k, n) and (k + 1, n) of the matrix,
// which is one element of the instruction that multiplies two pairs and adds both products to f32.
// Blocks are cut by shape alone, and each element sums over k in order, whatever its block.
#include <ATen/native/CPUBlas.h>

#include <algorithm>
#include <string>
#include <vector>

#include "csrc/nn/ops/half_gemm.h"
#include "csrc/nn/ops/transpose.h"

namespace kente {
namespace {

constexpr int64_t kPanel = 64;    // columns of b the kernel takes at once
constexpr int64_t kDepth = 512;   // of k: a panel stays in the second cache
constexpr int64_t kHeight = 256;  // rows of a
constexpr int64_t kWidth = 4096;  // columns of b that are packed at once: 4 MB

/// Pairs of elements that follow each other; 0 beyond count elements.
KENTE_INLINE U32x16 load_pairs(const uint16_t* from, int64_t count) {
  U32x16 pairs = {};
  if (count >= 2 * kTile) {
    std::memcpy(&pairs, from, sizeof(pairs));
  } else if (count > 0) {
    std::memcpy(&pairs, from, static_cast<size_t>(count) * 2);
  }
  return pairs;
}

KENTE_INLINE U32x16 widen(const uint16_t* from, int64_t count) {
  U16x16 half = {};
  if (count >= kTile) {
    std::memcpy(&half, from, sizeof(half));
  } else {
    std::memcpy(&half, from, static_cast<size_t>(count) * 2);
  }
  return __builtin_convertvector(half, U32x16);
}

/// Pairs of elements below each other: of the row at from, and of the next unless it is the last.
KENTE_INLINE U32x16 load_column_pairs(const uint16_t* from, int64_t stride, bool last,
                                      int64_t count) {
  const U32x16 low = widen(from, count);
  return last ? low : low | widen(from + stride, count) << 16;
}

/// packed [pairs, kPanel] of rows x columns <= kPanel elements at from.
KENTE_KERNEL void pack_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns,
                            uint32_t* packed) {
  for (int64_t row = 0; row < rows; row += 2, packed += kPanel)
    for (int64_t i = 0; i < columns; i += kTile) {
      const U32x16 pairs = load_column_pairs(from + row * stride + i, stride, row + 1 == rows,
                                             std::min(kTile, columns - i));
      std::memcpy(packed + i, &pairs, sizeof(pairs));
    }
}

/// The same of a matrix stored as its transpose: columns x rows elements at from.
KENTE_KERNEL void pack_columns(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns,
                               uint32_t* packed) {
  const int64_t pairs = (rows + 1) / 2;
  for (int64_t i = 0; i < columns; i += kTile) {
    for (int64_t pair = 0; pair < pairs; pair += kTile) {
      U32x16 tile[kTile];
      for (int64_t lane = 0; lane < kTile; ++lane)
        tile[lane] = i + lane < columns
                         ? load_pairs(from + (i + lane) * stride + 2 * pair, rows - 2 * pair)
                         : U32x16{};
      transpose_tile(tile);
      for (int64_t row = 0; row < std::min(kTile, pairs - pair); ++row)
        std::memcpy(packed + (pair + row) * kPanel + i, &tile[row], sizeof(tile[row]));
    }
  }
}

/// Rows of pairs for a: block [rows, pairs rounded up to kTile] of a matrix stored as its
/// transpose, columns x rows elements at from.
KENTE_KERNEL void transpose_rows(const uint16_t* from, int64_t stride, int64_t rows,
                                 int64_t columns, uint32_t* block, int64_t block_stride) {
  for (int64_t i = 0; i < rows; i += kTile) {
    for (int64_t pair = 0; 2 * pair < columns; pair += kTile) {
      U32x16 tile[kTile];
      for (int64_t lane = 0; lane < kTile; ++lane) {
        const int64_t column = 2 * (pair + lane);
        tile[lane] = column < columns
                         ? load_column_pairs(from + column * stride + i, stride,
                                             column + 1 == columns, std::min(kTile, rows - i))
                         : U32x16{};
      }
      transpose_tile(tile);
      for (int64_t row = 0; row < std::min(kTile, rows - i); ++row)
        std::memcpy(block + (i + row) * block_stride + pair, &tile[row], sizeof(tile[row]));
    }
  }
}

/// The same of a matrix stored as it is.
KENTE_KERNEL void copy_rows(const uint16_t* from, int64_t stride, int64_t rows, int64_t columns,
                            uint32_t* block, int64_t block_stride) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t pair = 0; 2 * pair < columns; pair += kTile) {
      const U32x16 pairs = load_pairs(from + row * stride + 2 * pair, columns - 2 * pair);
      std::memcpy(block + row * block_stride + pair, &pairs, sizeof(pairs));
    }
}

/// What a thread packs into, kept from one product to the next.
struct Buffers {
  std::vector<uint32_t> a = std::vector<uint32_t>(kHeight * kDepth / 2);
  std::vector<uint32_t> b;  // as many panels as were ever packed at once
};

/// Depth x width elements of b from (k0, j0), panel after panel.
void pack_b(const HalfMatrix& b, int64_t k0, int64_t depth, int64_t j0, int64_t width,
            std::vector<uint32_t>& packed) {
  const int64_t panel_size = (depth + 1) / 2 * kPanel;
  const auto size = static_cast<size_t>((width + kPanel - 1) / kPanel * panel_size);
  if (packed.size() < size) packed.resize(size);
  uint32_t* to = packed.data();
  for (int64_t j = 0; j < width; j += kPanel, to += panel_size)
    (b.transposed ? pack_columns : pack_rows)(b.at(k0, j0 + j), b.stride(), depth,
                                              std::min(kPanel, width - j), to);
}

/// A block of a as the kernel reads it: where it lies, or packed.
struct BlockOfA {
  const c10::BFloat16* data;
  int64_t stride;
};

BlockOfA block_of_a(const HalfMatrix& a, int64_t i0, int64_t height, int64_t k0, int64_t depth,
                    std::vector<uint32_t>& packed) {
  const uint16_t* from = a.at(i0, k0);
  if (!a.transposed && depth % 2 == 0)
    return {reinterpret_cast<const c10::BFloat16*>(from), a.stride()};
  const int64_t pairs = (depth + 2 * kTile - 1) / (2 * kTile) * kTile;
  (a.transposed ? transpose_rows : copy_rows)(from, a.stride(), height, depth, packed.data(),
                                              pairs);
  return {reinterpret_cast<const c10::BFloat16*>(packed.data()), 2 * pairs};
}

}  // namespace

void gemm_half_packed(const HalfMatrix& a, const HalfMatrix& b, bool add, const at::Tensor& c) {
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  const int64_t k = a.columns();
  KENTE_CHECK(k == b.rows(), std::to_string(k) + " columns, " + std::to_string(b.rows()) + " rows");
  static thread_local Buffers buffers;
  float* out = c.mutable_data_ptr<float>();
  for (int64_t j0 = 0; j0 < n; j0 += kWidth) {
    const int64_t width = std::min(kWidth, n - j0);
    for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
      const int64_t depth = std::min(kDepth, k - k0);
      const int64_t even = (depth + 1) / 2 * 2;
      pack_b(b, k0, depth, j0, width, buffers.b);
      for (int64_t i0 = 0; i0 < m; i0 += kHeight) {
        const int64_t height = std::min(kHeight, m - i0);
        const BlockOfA block = block_of_a(a, i0, height, k0, depth, buffers.a);
        const auto* panel = reinterpret_cast<const c10::BFloat16*>(buffers.b.data());
        for (int64_t j = 0; j < width; j += kPanel, panel += even * kPanel)
          at::native::cpublas::brgemm(height, std::min(kPanel, width - j), even, block.stride,
                                      kPanel, n, add || k0 > 0, block.data, panel,
                                      out + i0 * n + j0 + j);
      }
    }
  }
}

bool has_gemm_half_packed() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

}  // namespace kente
