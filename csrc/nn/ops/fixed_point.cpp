#include "csrc/nn/ops/fixed_point.h"

#include <cmath>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"

namespace kente {
namespace {

constexpr double kLossScale = 0x1p32;
constexpr double kMostNats = 0x1p30;  // of a sum
constexpr double kNormScale = 0x1p80;
constexpr double kNormLimit = 0x1p40;
constexpr int kNormBits = 40;  // of high, and of low
constexpr int64_t kNormMask = (int64_t{1} << kNormBits) - 1;
constexpr int64_t kWholeExact = int64_t{1} << 46;  // below, the sum as one integer has 127 bits

// The loops below have no contraction and no reassociation, so every instruction set gives the same
// bits.
[[gnu::always_inline]] inline int64_t accumulate_body(const float* gradient, uint64_t* accumulator,
                                                      int64_t count, double limit) {
  int64_t poison = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double x = std::nearbyint(static_cast<double>(gradient[i]) * kGradientScale);
    const bool good = std::fabs(x) < limit;  // false for NaN too
    poison += good ? 0 : 1;
    accumulator[i] += static_cast<uint64_t>(static_cast<int64_t>(good ? x : 0.0));
  }
  return poison;
}

[[gnu::always_inline]] inline void to_float_body(const uint64_t* accumulator, float* gradient,
                                                 int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    gradient[i] = static_cast<float>(static_cast<double>(static_cast<int64_t>(accumulator[i])) *
                                     (1 / kGradientScale));
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] int64_t accumulate_avx512(
    const float* gradient, uint64_t* accumulator, int64_t count, double limit) {
  return accumulate_body(gradient, accumulator, count, limit);
}

[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void to_float_avx512(
    const uint64_t* accumulator, float* gradient, int64_t count) {
  to_float_body(accumulator, gradient, count);
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace

int64_t accumulate_fixed(const float* gradient, uint64_t* accumulator, int64_t count,
                         int64_t terms) {
  const double limit = 0x1p62 / static_cast<double>(terms);
#if defined(__x86_64__)
  if (has_avx512()) return accumulate_avx512(gradient, accumulator, count, limit);
#endif
  return accumulate_body(gradient, accumulator, count, limit);
}

void fixed_to_float(const uint64_t* accumulator, float* gradient, int64_t count) {
#if defined(__x86_64__)
  if (has_avx512()) return to_float_avx512(accumulator, gradient, count);
#endif
  to_float_body(accumulator, gradient, count);
}

double FixedNorm::root() const {
  const __int128 part = (static_cast<__int128>(high) << kNormBits) + low;
  if (whole >= kWholeExact)
    return std::sqrt(static_cast<double>(whole) + static_cast<double>(part) * (1 / kNormScale));
  const __int128 total = (static_cast<__int128>(whole) << (2 * kNormBits)) + part;
  return std::sqrt(static_cast<double>(total) * (1 / kNormScale));
}

void add_squares(const float* gradient, int64_t count, FixedNorm& norm) {
  KENTE_CHECK(count % kBlockElements == 0, "count " + std::to_string(count));
  for (int64_t block = 0; block < count; block += kBlockElements) {
    // Eight lanes, combined pairwise: a fixed order that vectorises.
    double lane[8] = {};
    for (int64_t i = block; i < block + kBlockElements; i += 8)
      for (int64_t j = 0; j < 8; ++j) {
        const double g = static_cast<double>(gradient[i + j]);
        lane[j] += g * g;
      }
    const double sum =
        ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
    if (!(sum < kNormLimit)) {
      ++norm.poison;
      continue;
    }
    const auto fixed = static_cast<__int128>(sum * kNormScale);
    norm.whole += static_cast<int64_t>(fixed >> (2 * kNormBits));
    norm.high += static_cast<int64_t>(fixed >> kNormBits) & kNormMask;
    norm.low += static_cast<int64_t>(fixed) & kNormMask;
  }
}

void FixedLoss::add(double loss, int64_t terms) {
  if (std::fabs(loss) < kMostNats / static_cast<double>(terms)) {  // false for NaN too
    nats += std::llrint(loss * kLossScale);
  } else {
    ++poison;
  }
}

double FixedLoss::total() const {
  if (poison > 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(nats) * (1 / kLossScale);
}

}  // namespace kente
