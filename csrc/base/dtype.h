#pragma once

#include <cstdint>
#include <string_view>

namespace kente {

/// Element types of tensors, buffers and files.
enum class DType : uint8_t { kU8, kU16, kI32, kI64, kF16, kBF16, kF32, kF64 };

/// Bytes of one element.
int64_t size_of(DType dtype);

/// The short name used in files and messages: "u8", "u16", "i32", "i64", "f16", "bf16", "f32",
/// "f64".
std::string_view name_of(DType dtype);

}  // namespace kente
