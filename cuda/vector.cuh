#pragma once

#include <cstring>
#include <type_traits>

#include "cuda/device.cuh"

namespace kente::cuda {

/// One access' worth of elements: to the GPU a single load or store.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T values[kCount];

  __host__ __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __host__ __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};

/// Bytes as a register type whose load is one instruction.
template <int kBytes>
struct Raw;
template <>
struct Raw<16> {
  using Type = uint4;
};
template <>
struct Raw<8> {
  using Type = uint2;
};
template <>
struct Raw<4> {
  using Type = unsigned;
};
template <>
struct Raw<2> {
  using Type = unsigned short;
};
template <>
struct Raw<1> {
  using Type = unsigned char;
};

/// A bulk tensor in device memory, reached by accesses of a stated width and in no other way, so
/// that cuda/host can count what a kernel moves. The pointer must be aligned to every width used.
template <class T>
class Global {
 public:
  using Element = std::remove_const_t<T>;
  template <int kBytes>
  using Wide = Vector<Element, kBytes / static_cast<int>(sizeof(T))>;

  Global() = default;
  __host__ __device__ explicit Global(T* data) : data_(data) {}
  __host__ __device__ bool empty() const { return data_ == nullptr; }
  __host__ __device__ Global<const T> read_only() const { return Global<const T>(data_); }

  /// The elements from index on; index must be a multiple of their count.
  template <int kBytes>
  __device__ __forceinline__ Wide<kBytes> load(int64_t index KENTE_SITE_PARAMETER) const {
    Wide<kBytes> value;
#if defined(__CUDACC__)
    const auto raw = *reinterpret_cast<const typename Raw<kBytes>::Type*>(data_ + index);
    memcpy(&value, &raw, kBytes);
#else
    host::Gpu::current()->load(&value, data_ + index, kBytes KENTE_SITE_ARGUMENT);
#endif
    return value;
  }

  template <int kBytes>
  __device__ __forceinline__ void store(int64_t index,
                                        const Wide<kBytes>& value KENTE_SITE_PARAMETER) const {
#if defined(__CUDACC__)
    typename Raw<kBytes>::Type raw;
    memcpy(&raw, &value, kBytes);
    *reinterpret_cast<typename Raw<kBytes>::Type*>(data_ + index) = raw;
#else
    host::Gpu::current()->store(data_ + index, &value, kBytes KENTE_SITE_ARGUMENT);
#endif
  }

  /// Adds to one integer, which others may be adding to. Not for floating types: order would
  /// matter.
  __device__ __forceinline__ void add(int64_t index, Element value KENTE_SITE_PARAMETER) const {
    static_assert(std::is_integral_v<Element>);
#if defined(__CUDACC__)
    atomicAdd(data_ + index, value);
#else
    host::Gpu::current()->add(data_ + index, static_cast<uint64_t>(value),
                              sizeof(T) KENTE_SITE_ARGUMENT);
#endif
  }

  /// One element: for tails and for numbers of which there are few.
  __device__ __forceinline__ Element load_one(int64_t index KENTE_SITE_PARAMETER) const {
    return load<sizeof(T)>(index KENTE_SITE_ARGUMENT)[0];
  }
  __device__ __forceinline__ void store_one(int64_t index,
                                            Element value KENTE_SITE_PARAMETER) const {
    const Wide<sizeof(T)> one{{value}};
    store<sizeof(T)>(index, one KENTE_SITE_ARGUMENT);
  }

 private:
  T* data_ = nullptr;
};

/// How many elements the widest access has.
template <class T>
constexpr int kWide = 16 / static_cast<int>(sizeof(T));

__host__ __device__ __forceinline__ float to_float(float x) { return x; }
__host__ __device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__host__ __device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

/// Rounded to nearest, ties to even.
template <class T>
__host__ __device__ __forceinline__ T from_float(float x);
template <>
__host__ __device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__host__ __device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__host__ __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// The widest access' worth of elements, as the fp32 they are computed in.
template <int kCount>
struct Floats {
  float values[kCount];

  __device__ __forceinline__ float& operator[](int i) { return values[i]; }
  __device__ __forceinline__ float operator[](int i) const { return values[i]; }
};

template <class T, int kCount>
__device__ __forceinline__ Floats<kCount> to_floats(const Vector<T, kCount>& vector) {
  Floats<kCount> result;
  KENTE_UNROLL
  for (int i = 0; i < kCount; ++i) result[i] = to_float(vector[i]);
  return result;
}

template <class T, int kCount>
__device__ __forceinline__ Vector<T, kCount> rounded(const Floats<kCount>& floats) {
  Vector<T, kCount> result;
  KENTE_UNROLL
  for (int i = 0; i < kCount; ++i) result[i] = from_float<T>(floats[i]);
  return result;
}

/// kCount fp32 elements from index on, as a few 16-byte loads: kCount is a multiple of 4.
template <int kCount>
__device__ __forceinline__ Floats<kCount> load_floats(Global<const float> from,
                                                      int64_t index KENTE_SITE_PARAMETER) {
  Floats<kCount> result;
  KENTE_UNROLL
  for (int part = 0; part < kCount; part += 4) {
    const Vector<float, 4> four = from.load<16>(index + part KENTE_SITE_ARGUMENT);
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) result[part + i] = four[i];
  }
  return result;
}

template <int kCount>
__device__ __forceinline__ void store_floats(Global<float> to, int64_t index,
                                             const Floats<kCount>& values KENTE_SITE_PARAMETER) {
  KENTE_UNROLL
  for (int part = 0; part < kCount; part += 4) {
    Vector<float, 4> four;
    KENTE_UNROLL
    for (int i = 0; i < 4; ++i) four[i] = values[part + i];
    to.store<16>(index + part, four KENTE_SITE_ARGUMENT);
  }
}

}  // namespace kente::cuda
