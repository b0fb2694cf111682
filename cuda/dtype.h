#pragma once

#include <cstdint>

namespace kente::cuda {

/// What the elements of a bulk tensor are; arithmetic is fp32 whatever they are.
enum class DataType : uint8_t { kF32, kF16, kBF16 };

constexpr int64_t size_of(DataType dtype) { return dtype == DataType::kF32 ? 4 : 2; }

}  // namespace kente::cuda
