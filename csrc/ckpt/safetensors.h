#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "csrc/ckpt/checkpoint.h"

namespace kente {

/// Source: the safetensors format: 8 bytes little-endian header length, a JSON header, then the
/// tensors' bytes, contiguous and without holes. Readable by the `safetensors` libraries.
inline constexpr int64_t kSafetensorsHeaderCap = 32 << 20;  // bytes

/// Where each tensor goes: wide element types first, so that all are aligned; else in the given
/// order.
struct SafetensorsLayout {
  std::string header;  // the length and the JSON, padded with spaces to a multiple of 8
  std::vector<StoredTensor> tensors;  // in file order
  std::vector<size_t> order;          // tensors[i] is the order[i]-th of the given ones
  int64_t bytes = 0;                  // of the whole file
};
/// Throws InternalError unless each tensor's shape fits its data and no name is given twice.
SafetensorsLayout lay_out_safetensors(const std::vector<NamedTensor>& tensors);

/// The header of a hostile file. prefix starts with the file's first bytes; it must hold
/// safetensors_header_bytes() of them. Returns the tensors in file order. Throws FormatError.
std::vector<StoredTensor> parse_safetensors_header(std::string_view prefix, int64_t file_bytes,
                                                   const std::string& file);
/// Bytes before the tensors: 8 + the header's length. Needs the first 8 bytes. Throws FormatError.
int64_t safetensors_header_bytes(std::string_view prefix, int64_t file_bytes,
                                 const std::string& file);

/// Elements of a shape times the element's size; empty when that does not fit 63 bits.
std::optional<int64_t> checked_bytes(const std::vector<int64_t>& shape, DType dtype);
std::optional<int64_t> checked_add(int64_t a, int64_t b);

}  // namespace kente
