#include "csrc/outer/wire_format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "csrc/base/errors.h"
#include "csrc/base/round_up.h"

namespace kente {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int64_t kBlock = 64;

bool is_blocked(WireFormat format) {
  return format == WireFormat::kInt8 || format == WireFormat::kInt4;
}
int64_t bits_of(WireFormat format) { return format == WireFormat::kInt8 ? 8 : 4; }
float most_of(WireFormat format) { return format == WireFormat::kInt8 ? 127.0f : 7.0f; }

int64_t integer_bytes(WireFormat format, int64_t count) {
  return round_up(count, kBlock) * bits_of(format) / 8;
}

/// To nearest, ties to even; NaN stays one.
uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

float from_bf16(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

void count(float value, WireFacts& facts) {
  if (!std::isfinite(value)) {
    ++facts.non_finite;
    return;
  }
  facts.squares += static_cast<double>(value) * static_cast<double>(value);
  facts.largest = std::max(facts.largest, std::abs(static_cast<double>(value)));
}

/// One block of at most 64 elements x, which become what stays behind.
struct Block {
  float x[kBlock] = {};
  int8_t integers[kBlock] = {};
  float scale = 0;

  void quantise(float most) {
    float largest = 0;
    bool finite = true;
    for (const float value : x) {
      finite = finite && std::isfinite(value);
      largest = std::max(largest, std::abs(value));
    }
    if (!finite) {
      scale = std::numeric_limits<float>::quiet_NaN();
      std::fill(std::begin(x), std::end(x), 0.0f);
      return;
    }
    scale = largest / most;
    if (scale == 0) return;
    for (int64_t i = 0; i < kBlock; ++i) {
      const float q = std::clamp(std::rint(x[i] / scale), -most, most);
      integers[i] = static_cast<int8_t>(q);
      x[i] -= scale * q;
    }
  }
};

void put_integers(WireFormat format, const Block& block, uint8_t* to) {
  if (format == WireFormat::kInt8) {
    std::memcpy(to, block.integers, kBlock);
    return;
  }
  for (int64_t i = 0; i < kBlock; i += 2)
    to[i / 2] =
        static_cast<uint8_t>((block.integers[i] & 0xF) | (block.integers[i + 1] & 0xF) << 4);
}

int8_t integer_at(WireFormat format, const uint8_t* integers, int64_t i) {
  if (format == WireFormat::kInt8) return static_cast<int8_t>(integers[i]);
  const int half = i % 2 == 0 ? integers[i / 2] & 0xF : integers[i / 2] >> 4;
  return static_cast<int8_t>(half >= 8 ? half - 16 : half);
}

WireFacts encode_blocks(WireFormat format, std::span<const float> values, std::span<float> error,
                        std::span<uint8_t> wire) {
  const auto n = static_cast<int64_t>(values.size());
  uint8_t* integers = wire.data();
  uint8_t* scales = wire.data() + integer_bytes(format, n);
  WireFacts facts;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(kBlock, n - begin);
    Block block;
    for (int64_t i = 0; i < size; ++i) {
      const auto at = static_cast<size_t>(begin + i);
      block.x[i] = values[at] + (error.empty() ? 0.0f : error[at]);
    }
    block.quantise(most_of(format));
    put_integers(format, block, integers + begin * bits_of(format) / 8);
    std::memcpy(scales + begin / kBlock * 4, &block.scale, 4);
    for (int64_t i = 0; i < size; ++i) {
      count(block.scale * static_cast<float>(block.integers[i]), facts);
      if (!error.empty()) error[static_cast<size_t>(begin + i)] = block.x[i];
    }
  }
  return facts;
}

void check_size(WireFormat format, size_t wire, size_t values) {
  KENTE_CHECK(static_cast<int64_t>(wire) == wire_bytes(format, static_cast<int64_t>(values)),
              std::to_string(wire) + " bytes for " + std::to_string(values) + " elements");
}

}  // namespace

std::string_view name_of(WireFormat format) {
  constexpr std::string_view kNames[] = {"f32", "bf16", "int8", "int4"};
  return kNames[static_cast<size_t>(format)];
}

int64_t wire_bytes(WireFormat format, int64_t count) {
  if (format == WireFormat::kF32) return 4 * count;
  if (format == WireFormat::kBF16) return 2 * count;
  return integer_bytes(format, count) + round_up(count, kBlock) / kBlock * 4;
}

WireFacts encode(WireFormat format, std::span<const float> values, std::span<float> error,
                 std::span<uint8_t> wire) {
  check_size(format, wire.size(), values.size());
  KENTE_CHECK(error.empty() || error.size() == values.size(), "an error of another size");
  if (is_blocked(format)) return encode_blocks(format, values, error, wire);
  WireFacts facts;
  for (size_t i = 0; i < values.size(); ++i) {
    const float x = values[i] + (error.empty() ? 0.0f : error[i]);
    float sent = x;
    if (format == WireFormat::kF32) {
      std::memcpy(wire.data() + 4 * i, &x, 4);
    } else {
      const uint16_t half = to_bf16(x);
      std::memcpy(wire.data() + 2 * i, &half, 2);
      sent = from_bf16(half);
    }
    count(sent, facts);
    if (!error.empty()) error[i] = std::isfinite(sent) ? x - sent : 0.0f;
  }
  return facts;
}

WireFacts add_decoded(WireFormat format, std::span<const uint8_t> wire, double weight,
                      std::span<double> sums) {
  check_size(format, wire.size(), sums.size());
  const auto n = static_cast<int64_t>(sums.size());
  const uint8_t* const scales =
      wire.data() + (is_blocked(format) ? integer_bytes(format, n) : int64_t{0});
  WireFacts facts;
  for (int64_t i = 0; i < n; ++i) {
    float value = 0;
    if (format == WireFormat::kF32) {
      std::memcpy(&value, wire.data() + 4 * i, 4);
    } else if (format == WireFormat::kBF16) {
      uint16_t half = 0;
      std::memcpy(&half, wire.data() + 2 * i, 2);
      value = from_bf16(half);
    } else {
      float scale = 0;
      std::memcpy(&scale, scales + i / kBlock * 4, 4);
      value = scale * static_cast<float>(integer_at(format, wire.data(), i));
    }
    count(value, facts);
    sums[static_cast<size_t>(i)] += weight * static_cast<double>(value);
  }
  return facts;
}

}  // namespace kente
