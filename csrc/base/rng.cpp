#include "csrc/base/rng.h"

#include <cmath>
#include <numbers>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

// splitmix64's finaliser: spreads a 64-bit key over the 64 key bits Philox has.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

std::array<uint32_t, 4> draw(uint64_t seed, RngUse use, uint64_t stream, uint64_t index) {
  const uint64_t key = mix(seed ^ mix(static_cast<uint64_t>(use)));
  return philox4x32({low(key), high(key)}, {low(index), high(index), low(stream), high(stream)});
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 2> key, std::array<uint32_t, 4> c) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * c[2];
    c = {high(b) ^ c[1] ^ key[0], low(b), high(a) ^ c[3] ^ key[1], low(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return c;
}

uint64_t random_bits(uint64_t seed, RngUse use, uint64_t stream, uint64_t index) {
  const auto r = draw(seed, use, stream, index);
  return (uint64_t{r[1]} << 32) | r[0];
}

double random_uniform(uint64_t seed, RngUse use, uint64_t stream, uint64_t index) {
  return static_cast<double>(random_bits(seed, use, stream, index) >> 11) * 0x1p-53;
}

double random_normal(uint64_t seed, RngUse use, uint64_t stream, uint64_t index) {
  const auto r = draw(seed, use, stream, index);
  const uint64_t a = (uint64_t{r[1]} << 32) | r[0];
  const uint64_t b = (uint64_t{r[3]} << 32) | r[2];
  // In (0, 1], so that the logarithm is finite.
  const double u = (static_cast<double>(a >> 11) + 1.0) * 0x1p-53;
  const double v = static_cast<double>(b >> 11) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t random_permutation(uint64_t seed, RngUse use, uint64_t stream, uint64_t count,
                            uint64_t index) {
  KENTE_CHECK(index < count, "index " + std::to_string(index) + " of " + std::to_string(count));
  int half_bits = 1;
  while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < count) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  const uint64_t key = mix(mix(seed ^ mix(static_cast<uint64_t>(use))) ^ stream);
  uint64_t x = index;
  do {
    uint64_t left = x >> half_bits;
    uint64_t right = x & mask;
    for (uint32_t round = 0; round < 6; ++round) {
      const auto r =
          philox4x32({low(key), high(key)}, {low(right), high(right), round, 0x4B454E54u});
      const uint64_t f = ((uint64_t{r[1]} << 32) | r[0]) & mask;
      const uint64_t next = left ^ f;
      left = right;
      right = next;
    }
    x = (left << half_bits) | right;
  } while (x >= count);
  return x;
}

}  // namespace kente
