#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kente {

/// How a lab's weights, or their difference to those agreed on, travel between labs.
///   kF32, kBF16    the elements; f32 are the weights themselves, all others a difference
///   kInt8, kInt4   whole blocks of 64 elements: all integers (two of int4 to a byte, the lower
///   half
///                  first), then an f32 scale a block; as cuda/quantize.h makes them
/// Little-endian. What rounding leaves behind is sent in the next round.
enum class WireFormat : uint8_t { kF32, kBF16, kInt8, kInt4 };

std::string_view name_of(WireFormat format);

/// Bytes of count elements.
int64_t wire_bytes(WireFormat format, int64_t count);

/// What the hub and the other labs may know of an update before they use it.
struct WireFacts {
  double squares = 0;      // sum of the squares of what was sent
  double largest = 0;      // absolute
  int64_t non_finite = 0;  // elements
};

/// Encodes x = values + error into wire; error becomes x minus what was sent, or 0 where x is not
/// finite. error [values] may be empty: what rounding leaves is lost. A quantised block with
/// something in it that is not finite has the scale NaN. Source of the feedback: Seide et al. 2014,
/// Interspeech, section 3.
WireFacts encode(WireFormat format, std::span<const float> values, std::span<float> error,
                 std::span<uint8_t> wire);

/// sums[i] += weight x value i of wire, in double and in order. wire has wire_bytes() of sums.
WireFacts add_decoded(WireFormat format, std::span<const uint8_t> wire, double weight,
                      std::span<double> sums);

}  // namespace kente
