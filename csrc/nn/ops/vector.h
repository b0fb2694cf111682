#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "csrc/nn/ops/element_type.h"

// The loops of csrc/nn/ops are compiled for three instruction sets and chosen when the program
// starts. We contract nothing and fix the order of every sum, so all three give the same bits.
// clang-tidy reads these files too: clang cannot clone a template.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__clang__)
#define KENTE_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KENTE_KERNEL
#endif
#define KENTE_INLINE [[gnu::always_inline]] inline

namespace kente {

template <typename Real>
struct VecType {
  typedef Real Type __attribute__((vector_size(64)));
};
/// 64 bytes: 16 floats or 8 doubles.
template <typename Real>
using Vec = typename VecType<Real>::Type;
template <typename T>
inline constexpr int64_t kLanes = static_cast<int64_t>(64 / sizeof(RealOf<T>));

using U32x16 = uint32_t __attribute__((vector_size(64)));
using I32x16 = int32_t __attribute__((vector_size(64)));
using U16x16 = uint16_t __attribute__((vector_size(32)));

KENTE_INLINE Vec<float> bf16_to_f32(const U16x16& half) {
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(half, U32x16) << 16);
}

/// To nearest, ties to even.
KENTE_INLINE U16x16 f32_to_bf16(const Vec<float>& v) {
  const U32x16 bits = reinterpret_cast<U32x16>(v);
  const U32x16 rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const U32x16 quiet = (bits >> 16) | 0x40u;
  const auto is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return __builtin_convertvector(is_nan ? quiet : rounded, U16x16);
}

/// The exponent moved by 112; of a subnormal the leading one that it lacks is added and taken away.
KENTE_INLINE Vec<float> f16_to_f32(const U16x16& half) {
  const U32x16 bits = __builtin_convertvector(half, U32x16);
  const U32x16 magnitude = bits & 0x7FFFu;
  const U32x16 normal = (magnitude << 13) + (112u << 23);
  const Vec<float> small = reinterpret_cast<Vec<float>>(normal + (1u << 23)) - 0x1p-14f;
  const U32x16 finite = magnitude < 0x400u ? reinterpret_cast<U32x16>(small) : normal;
  const U32x16 special = (magnitude << 13) | 0x7F800000u;  // infinite, or no number
  const U32x16 value = magnitude >= 0x7C00u ? special : finite;
  return reinterpret_cast<Vec<float>>(value | ((bits & 0x8000u) << 16));
}

/// To nearest, ties to even; beyond 65,504 and a half step infinite. Normal values: rounded at bit
/// 13, the exponent moved by 112. Smaller ones: added to 0.5, whose last bit is f16's smallest
/// value, so that the addition rounds.
KENTE_INLINE U16x16 f32_to_f16(const Vec<float>& v) {
  constexpr float kRoundsAtSmallest = 0.5f;
  const U32x16 bits = reinterpret_cast<U32x16>(v);
  const U32x16 magnitude = bits & 0x7FFFFFFFu;
  const Vec<float> shifted = reinterpret_cast<Vec<float>>(magnitude) + kRoundsAtSmallest;
  const U32x16 small = reinterpret_cast<U32x16>(shifted) - 0x3F000000u;
  const U32x16 normal = (magnitude - (112u << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  const U32x16 finite = magnitude < 0x38800000u ? small : normal;  // 2^-14
  const U32x16 special = magnitude > 0x7F800000u ? U32x16{} + 0x7E00u : U32x16{} + 0x7C00u;
  const U32x16 value = magnitude >= 0x47800000u ? special : finite;  // 2^16
  return __builtin_convertvector(value | ((bits >> 16) & 0x8000u), U16x16);
}

/// What g++ must not keep in memory takes no part in a copy of variable length: whole vectors go
/// one way, and the rest of a row another.
template <typename Whole>
KENTE_INLINE Whole load_bytes(const void* from, int64_t bytes) {
  if (bytes >= static_cast<int64_t>(sizeof(Whole))) [[likely]] {
    Whole whole;
    std::memcpy(&whole, from, sizeof(whole));
    return whole;
  }
  Whole part = {};
  std::memcpy(&part, from, static_cast<size_t>(bytes));
  return part;
}

template <typename Whole>
KENTE_INLINE void store_bytes(void* to, const Whole& whole, int64_t bytes) {
  if (bytes >= static_cast<int64_t>(sizeof(Whole))) [[likely]] {
    std::memcpy(to, &whole, sizeof(whole));
    return;
  }
  const Whole part = whole;
  std::memcpy(to, &part, static_cast<size_t>(bytes));
}

/// count <= kLanes elements as reals; lanes beyond count are 0.
template <typename T>
KENTE_INLINE Vec<RealOf<T>> load(const T* from, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if constexpr (std::is_same_v<T, c10::Half>) {
    return f16_to_f32(load_bytes<U16x16>(from, bytes));
  } else if constexpr (std::is_same_v<T, c10::BFloat16>) {
    return bf16_to_f32(load_bytes<U16x16>(from, bytes));
  } else {
    return load_bytes<Vec<T>>(from, bytes);
  }
}

/// Stores the first count <= kLanes lanes; bf16 and f16 round to nearest, ties to even.
template <typename T>
KENTE_INLINE void store(T* to, const Vec<RealOf<T>>& v, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if constexpr (std::is_same_v<T, c10::Half>) {
    store_bytes(to, f32_to_f16(v), bytes);
  } else if constexpr (std::is_same_v<T, c10::BFloat16>) {
    store_bytes(to, f32_to_bf16(v), bytes);
  } else {
    store_bytes(to, v, bytes);
  }
}

template <typename Real>
KENTE_INLINE Vec<Real> splat(Real value) {
  return value - Vec<Real>{};
}

/// Sum of all lanes, pairwise in a fixed order.
template <typename Real>
KENTE_INLINE Real sum_lanes(const Vec<Real>& v) {
  constexpr int64_t kCount = static_cast<int64_t>(64 / sizeof(Real));
  Real lanes[kCount];
  std::memcpy(lanes, &v, sizeof(v));
  for (int64_t half = kCount / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

template <typename Real>
KENTE_INLINE Real max_lanes(const Vec<Real>& v) {
  constexpr int64_t kCount = static_cast<int64_t>(64 / sizeof(Real));
  Real largest = v[0];
  for (int64_t i = 1; i < kCount; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
}

/// e^x in float to 2 units in the last place; 0 below -87, held at e^88 above. NaN stays NaN.
/// Range reduction by multiples of ln 2, then a polynomial.   Source: Cephes, expf.
KENTE_INLINE Vec<float> vec_exp(const Vec<float>& x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec<float> high = x > 88.0f ? splat(88.0f) : x;
  const Vec<float> held = high < -87.0f ? splat(-87.0f) : high;
  const Vec<float> shifted = held * 1.44269504088896341f + kRound;
  const Vec<float> n = shifted - kRound;
  const Vec<float> r = (held - n * 0.693359375f) - n * -2.12194440e-4f;
  Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const I32x16 exponent = reinterpret_cast<I32x16>(shifted) - 0x4B400000 + 127;
  const Vec<float> y = p * reinterpret_cast<Vec<float>>(exponent << 23);
  return x < -87.0f ? splat(0.0f) : y;
}

inline Vec<double> vec_exp(const Vec<double>& x) {
  Vec<double> y = x;
  for (int i = 0; i < 8; ++i) y[i] = std::exp(x[i]);
  return y;
}

/// 1 / (1 + e^-x)
template <typename Real>
KENTE_INLINE Vec<Real> vec_sigmoid(const Vec<Real>& x) {
  return Real{1} / (Real{1} + vec_exp(-x));
}

}  // namespace kente
