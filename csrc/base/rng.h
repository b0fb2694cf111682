#pragma once

#include <array>
#include <cstdint>

namespace kente {

/// What a random number is for. Part of the key, so two uses never share a stream.
enum class RngUse : uint32_t {
  kInit = 1,
  kShuffle = 2,
  kMixture = 3,
  kSample = 4,
  kTest = 5,
  kImitation = 6
};

/// Philox 4x32 with 10 rounds: a pure function from (key, counter) to 128 random bits.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter);

/// 64 random bits for (seed, use, stream, index); a pure function.
uint64_t random_bits(uint64_t seed, RngUse use, uint64_t stream, uint64_t index);

/// Uniform in [0, 1), 53 bits.
double random_uniform(uint64_t seed, RngUse use, uint64_t stream, uint64_t index);

/// Standard normal in double, by Box and Muller's transform.
double random_normal(uint64_t seed, RngUse use, uint64_t stream, uint64_t index);

/// A keyed permutation of [0, count): position index goes to the returned one, with no table in
/// memory. A balanced Feistel network over the next even power of two; values outside are walked
/// on. Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4 and 5.
uint64_t random_permutation(uint64_t seed, RngUse use, uint64_t stream, uint64_t count,
                            uint64_t index);

}  // namespace kente
